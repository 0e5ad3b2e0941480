//! Access control lists and other extended attributes of a file that is replaced.

use std::fs::File;
use std::io;

/// Copies the extended attributes of `old` to `new`.
///
/// Access control lists must be kept: without them the broker may not be able to read the file.
/// Others (security labels, checksums) are kept where the system lets this process set them.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn copy(old: &File, new: &File) -> io::Result<()> {
    use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};

    let names = match with_growing_buffer(|buffer| flistxattr(old, buffer)) {
        Ok(names) => names,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let copied = with_growing_buffer(|buffer| fgetxattr(old, name, buffer))
            .and_then(|value| fsetxattr(new, name, &value, XattrFlags::empty()));
        match copied {
            Err(error) if name.starts_with(b"system.posix_acl") => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Other systems have no extended attributes that a broker's access hangs on.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn copy(_old: &File, _new: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn with_growing_buffer(
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match read(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) if buffer.len() < MAX_ATTRIBUTE_BYTES => {
                buffer.resize(buffer.len() * 2, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Linux allows 64 KiB for a value and for the list of names.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_ATTRIBUTE_BYTES: usize = 1 << 16;
