//! Lists the page's files for embedding: `web/` at `/web/`, `clients/js/*.js` at `/client/`.
//!
//! A file added to the page is served without a list to keep; a file of a kind not named here
//! stops the build rather than going out with a guessed content type.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let manifest = variable("CARGO_MANIFEST_DIR")?;
    let mut files = Vec::new();
    gather(&manifest.join("web"), "/web", true, &mut files)?;
    gather(&manifest.join("../clients/js"), "/client", false, &mut files)?;
    files.sort();

    let mut source = String::from("static FILES: &[(&str, &str, &[u8])] = &[\n");
    for (path, file) in &files {
        let content_type = content_type(file)?;
        let line = format!("    ({path:?}, {content_type:?}, include_bytes!({file:?})),");
        writeln!(source, "{line}").map_err(io::Error::other)?;
    }
    source.push_str("];\n");
    fs::write(variable("OUT_DIR")?.join("assets.rs"), source)
}

/// Gathers the files of a directory as (path in the URL, path on disk). A directory that doesn't
/// exist holds no files. Without `all`, only scripts at the top.
fn gather(
    dir: &Path,
    prefix: &str,
    all: bool,
    files: &mut Vec<(String, PathBuf)>,
) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|name| !name.starts_with('.')) else { continue };
        let url = format!("{prefix}/{name}");
        if path.is_dir() && all {
            gather(&path, &url, all, files)?;
        } else if path.is_file() && (all || name.ends_with(".js")) {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push((url, path));
        }
    }
    Ok(())
}

fn content_type(file: &Path) -> io::Result<&'static str> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("js" | "mjs") => Ok("text/javascript; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        Some("png") => Ok("image/png"),
        Some("ico") => Ok("image/x-icon"),
        Some("woff2") => Ok("font/woff2"),
        Some("json") => Ok("application/json"),
        Some("webmanifest") => Ok("application/manifest+json"),
        Some("txt") => Ok("text/plain; charset=utf-8"),
        _ => Err(io::Error::other(format!("{}: no content type is known", file.display()))),
    }
}
