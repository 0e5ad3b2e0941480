//! Unpredictable bytes for keys and masks (RFC 6455 §5.3).

use std::cell::RefCell;
use std::io;

/// Fetched from the system once for many masks: one system call per frame would be felt.
const POOL_BYTES: usize = 1024;

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> =
        const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

/// Returns bytes that nobody can predict.
pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    POOL.with_borrow_mut(|pool| {
        if let Some(bytes) = pool.bytes.get(pool.used..).and_then(|rest| rest.first_chunk()) {
            pool.used += N;
            return Ok(*bytes);
        }
        getrandom::fill(&mut pool.bytes).map_err(io::Error::other)?;
        pool.used = N;
        let first = pool.bytes.first_chunk();
        Ok(*first.expect("keys and masks are much shorter than the pool"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_out_twice() {
        let seen: HashSet<[u8; 16]> = (0..1000).map(|_| random_bytes().unwrap()).collect();
        assert_eq!(seen.len(), 1000);
    }
}
