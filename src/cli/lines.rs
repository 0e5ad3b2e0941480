//! Standard input as lines, for `-l`.
//!
//! A thread of its own reads blocks and hands them on whole: a line is a slice of its block, so it
//! is copied once, out of the read buffer. `\n` ends a line and is not part of it; everything else,
//! `\r` and NUL among it, is. The last line needs no `\n`.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// How much is read at a time.
const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks read ahead of the publisher.
const BLOCKS_AHEAD: usize = 2;

/// Some whole lines.
#[derive(Debug, Default)]
pub struct Block {
    data: Bytes,
    /// Where in `data` each line ends; its `\n`, where it has one, is at that place.
    ends: Vec<usize>,
    /// How many lines behind those were too long and have been skipped.
    pub too_long: u64,
}

impl Block {
    /// How many lines there are.
    pub fn count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The lines, without copying them.
    pub fn lines(&self) -> impl Iterator<Item = Bytes> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        starts.zip(&self.ends).map(|(start, &end)| self.data.slice(start..end))
    }
}

/// Starts reading `input` on a thread of its own. The channel closes at the end of the input; an
/// error of the input is its last item.
pub fn read(
    input: impl Read + Send + 'static,
    max_line_bytes: usize,
) -> mpsc::Receiver<io::Result<Block>> {
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    // Not joined: the thread may sit in a read that never returns, and ends with the process.
    thread::spawn(move || {
        let mut splitter = Splitter::new(input, max_line_bytes);
        while let Some(block) = splitter.next_block().transpose() {
            let failed = block.is_err();
            if sender.blocking_send(block).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

/// Cuts the input into blocks that end where a line ends.
struct Splitter<R> {
    input: BufReader<R>,
    /// The beginning of a line whose end has not been read.
    partial: BytesMut,
    /// Whether the rest of the current line is thrown away.
    skipping: bool,
    max_line_bytes: usize,
}

impl<R: Read> Splitter<R> {
    fn new(input: R, max_line_bytes: usize) -> Self {
        Self {
            input: BufReader::with_capacity(BLOCK_BYTES, input),
            partial: BytesMut::new(),
            skipping: false,
            max_line_bytes,
        }
    }

    /// The lines that the next read completes; `None` at the end of the input.
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let chunk_bytes = chunk.len();
            if chunk_bytes == 0 {
                return Ok(self.last_line());
            }
            let mut block = Block::default();
            let mut chunk = chunk;
            if self.skipping {
                // The rest of a line that was given up.
                match memchr::memchr(b'\n', chunk) {
                    Some(at) => {
                        chunk = chunk.get(at + 1..).unwrap_or_default();
                        self.skipping = false;
                    }
                    None => chunk = &[],
                }
            }
            let whole = memchr::memrchr(b'\n', chunk).map_or(0, |at| at + 1);
            let (lines, rest) = chunk.split_at(whole);
            if !lines.is_empty() {
                let partial_bytes = self.partial.len();
                let mut data = std::mem::take(&mut self.partial);
                data.extend_from_slice(lines);
                block.ends =
                    memchr::memchr_iter(b'\n', lines).map(|at| partial_bytes + at).collect();
                block.data = data.freeze();
            }
            if self.partial.len() + rest.len() > self.max_line_bytes {
                self.partial = BytesMut::new();
                self.skipping = true;
                block.too_long = 1;
            } else {
                self.partial.extend_from_slice(rest);
            }
            self.input.consume(chunk_bytes);
            if !block.ends.is_empty() || block.too_long > 0 {
                return Ok(Some(block));
            }
        }
    }

    fn last_line(&mut self) -> Option<Block> {
        if self.partial.is_empty() {
            return None;
        }
        let data = std::mem::take(&mut self.partial).freeze();
        Some(Block { ends: vec![data.len()], data, too_long: 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives out its bytes in pieces of the given sizes.
    struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: std::iter::Cycle<std::vec::IntoIter<usize>>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes.next().unwrap().min(self.bytes.len()).min(buf.len());
            let (piece, rest) = self.bytes.split_at(size);
            buf[..size].copy_from_slice(piece);
            self.bytes = rest;
            Ok(size)
        }
    }

    fn split(bytes: &[u8], sizes: Vec<usize>, max: usize) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = Splitter::new(Pieces { bytes, sizes: sizes.into_iter().cycle() }, max);
        let (mut lines, mut too_long) = (Vec::new(), 0);
        while let Some(block) = splitter.next_block().unwrap() {
            lines.extend(block.lines().map(|line| line.to_vec()));
            too_long += block.too_long;
        }
        (lines, too_long)
    }

    #[test]
    fn blank_lines_nul_and_a_last_line_without_newline_are_lines() {
        let (lines, _) = split(b"a\n\n\0b\r\nlast", vec![3], usize::MAX);
        assert_eq!(lines, [b"a".as_slice(), b"", b"\0b\r", b"last"]);
        assert_eq!(split(b"", vec![3], usize::MAX), (vec![], 0));
        assert_eq!(split(b"\n", vec![3], usize::MAX), (vec![vec![]], 0));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole_and_counted() {
        for size in 1..20 {
            let (lines, too_long) = split(b"ok\n0123456789\nfine\n", vec![size], 9);
            let kept = lines.iter().filter(|line| line.len() <= 9).count();
            assert!(lines.first().unwrap() == b"ok" && lines.last().unwrap() == b"fine");
            // A line that one read brought whole is left to the packet limit.
            assert_eq!(kept + (lines.len() - kept) + too_long as usize, 3, "pieces of {size}");
        }
        let (lines, too_long) = split(b"0123456789", vec![1], 9);
        assert_eq!((lines.len(), too_long), (0, 1));
    }

    #[test]
    fn an_error_of_the_input_ends_the_lines() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let mut blocks = read(Broken, usize::MAX);
        assert!(blocks.blocking_recv().unwrap().is_err());
        assert!(blocks.blocking_recv().is_none());
    }

    proptest! {
        #[test]
        fn however_the_input_is_cut_the_lines_are_the_same(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            sizes in prop::collection::vec(1..50usize, 1..8),
        ) {
            let mut expected: Vec<Vec<u8>> =
                bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop_if(|last| last.is_empty());
            let (lines, too_long) = split(&bytes, sizes, usize::MAX);
            prop_assert_eq!(lines, expected);
            prop_assert_eq!(too_long, 0);
        }
    }
}
