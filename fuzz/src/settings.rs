//! A configuration as an operator writes it: a file, and variables of the environment.

use crate::input::Input;
use rookery_cluster_config::{KEYS, Sources, load};
use std::sync::LazyLock;

/// The file that is written anew for each input, in memory where the system has such a place.
static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
    made.unwrap()
});

/// The first bytes say which keys the environment sets, to lines of the file.
pub(crate) fn configuration(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let chosen = usize::from(input.byte() % 4);
    let mut environment = Vec::new();
    for _ in 0..chosen {
        let key = &KEYS[usize::from(input.byte()) % KEYS.len()];
        let value = String::from_utf8_lossy(input.bytes()).into_owned();
        environment.push((key.variable(), value));
    }
    let path = DIR.path().join("fuzz.toml");
    std::fs::write(&path, input.slice(usize::MAX)).unwrap();
    let sources = Sources { file: Some(path), environment, ..Sources::default() };
    match load(&sources) {
        Ok(loaded) => {
            let again = load(&sources);
            assert_eq!(again.map(|again| again.config).as_ref(), Ok(&loaded.config));
        }
        // What is wrong is told, whatever was written.
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

/// The documented example, whole and in sections, and values in the environment.
pub(crate) fn files() -> Vec<Vec<u8>> {
    let example = include_str!("../../cluster-config/examples/single-node.toml");
    let bare: String = example
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .flat_map(|line| [line, "\n"])
        .collect();
    let file = |text: &str| [&[0], text.as_bytes()].concat();
    let mut seeds: Vec<Vec<u8>> = bare
        .split("\n[")
        .map(|section| file(&format!("[{}", section.trim_start_matches('['))))
        .collect();
    seeds.push(file(&bare));
    for (at, key) in KEYS.iter().enumerate() {
        let at = u8::try_from(at).unwrap_or_default();
        for value in ["1", "on", "127.0.0.1:1", "", "https://a.example"] {
            let length = u8::try_from(value.len()).unwrap_or_default();
            if key.path.len() % 5 == value.len() % 5 {
                seeds.push([&[1, at, length, 0], value.as_bytes()].concat());
            }
        }
    }
    seeds
}
