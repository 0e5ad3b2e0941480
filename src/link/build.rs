//! Has the linker put the functions that a short run of a tool needs next to each other.
//!
//! A program is loaded by the page, with the pages around it. What a short run needs is a fifth of
//! midge_pub, and without this it is spread over all of it. `start.ld` lists those functions, in the
//! language of GNU ld and lld. A linker that does not know it, such as mold, is told nothing.

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::{Command, Stdio},
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/link/start.ld");
    let has_tools = env::var_os("CARGO_FEATURE_CLI").is_some();
    let is_optimised = env::var("OPT_LEVEL")? != "0";
    if !has_tools || !is_optimised || env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let script = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("src/link/start.ld");
    if links_with(&script)? {
        println!("cargo::rustc-link-arg-bins=-T");
        println!("cargo::rustc-link-arg-bins={}", script.display());
    }
    Ok(())
}

/// Whether a program links with `script`, by the same linker with the same flags as the tools.
fn links_with(script: &Path) -> Result<bool, Box<dyn Error>> {
    let place = env::var("OUT_DIR")?;
    let source = Path::new(&place).join("empty.rs");
    fs::write(&source, "fn main() {}\n")?;
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args(["--edition=2024", "--target", &env::var("TARGET")?, "--out-dir", &place]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.args(["-Clink-arg=-T", &format!("-Clink-arg={}", script.display())]);
    let output = rustc.arg(&source).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    Ok(output.success())
}
