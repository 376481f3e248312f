//! The commands that the documents of this repository show, so that none of them can go out of date unseen. Shared by the tests
//! of several packages: each tries those of its own programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A command of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// The document.
    pub file: PathBuf,
    /// `client` of `target/release/client` and of `cargo run -p client --`; else the first word.
    pub program: String,
    /// What follows it.
    pub args: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All commands of all documents: in blocks of shell, and those of our programs and of cargo between backticks.
pub(crate) fn commands() -> Vec<Shown> {
    let mut files = Vec::new();
    documents(&root(), &mut files);
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in lines(&text) {
            for words in split(&line) {
                if let Some((program, args)) = program(words) {
                    let file = file.clone();
                    all.push(Shown { file, program, args });
                }
            }
        }
    }
    all
}

/// Tries every command of the documents for `program`: with `--help` behind it, it must be understood and do nothing.
pub(crate) fn parse_all(program: &str, path: &str) {
    let mut count = 0;
    for shown in commands().into_iter().filter(|shown| shown.program == program) {
        // `client help VERB` has no more to parse.
        if shown.args.first().is_some_and(|verb| verb == "help") {
            continue;
        }
        let output = Command::new(path)
            .args(&shown.args)
            .arg("--help")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{shown:?}: {text}");
        count += 1;
    }
    assert!(count > 0, "no document shows {program}");
}

fn documents(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let ours = !name.starts_with('.')
                && !["target", "data", "node_modules", "shared"].contains(&name.as_str());
            if ours && !path.join("pyvenv.cfg").exists() {
                documents(&path, out);
            }
        } else if name.ends_with(".md") && name != "CHANGELOG.md" {
            out.push(path);
        }
    }
}

/// The lines of blocks of shell; what stands between backticks elsewhere, if it starts as a command does.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let (mut found, mut prose, mut block) = (Vec::new(), String::new(), None);
    for line in text.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(language), None) => block = Some(language == "sh"),
            (Some(_), Some(_)) => block = None,
            (None, Some(true)) => found.push(line.to_owned()),
            (None, Some(false)) => {}
            (None, None) => prose += &format!("{line} "),
        }
    }
    let spans = prose.split('`').skip(1).step_by(2).map(str::trim);
    let starts = ["cargo ", "target/release/", "client ", "server "];
    let commands = spans.filter(|span| starts.iter().any(|start| span.starts_with(start)));
    found.extend(commands.map(str::to_owned));
    found
}

/// The words of each command of a line: quotes kept together, comments and redirections left out, brackets of options dropped.
pub(crate) fn split(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let (mut quote, mut redirected) = (None, false);
    for c in line.chars().chain([' ', ';']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => {
                if !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
                break;
            }
            (None, '[' | ']') => {}
            (None, ' ' | '|' | '&' | ';' | '>' | '<') => {
                match (word.take(), redirected) {
                    (Some(_), true) => redirected = false,
                    (Some(whole), false) => words.push(whole),
                    (None, _) => {}
                }
                redirected |= matches!(c, '>' | '<');
                if matches!(c, '|' | '&' | ';') && !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    commands
}

/// Which of our programs the words start, and with what.
pub(crate) fn program(mut words: Vec<String>) -> Option<(String, Vec<String>)> {
    let first = words.first()?.clone();
    if first == "cargo" && words.get(1).is_some_and(|verb| verb == "run") {
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let args = words.split_off(end).into_iter().skip(1).collect();
        let after = |flag: &str| {
            let at = words.iter().position(|word| word == flag)?;
            words.get(at + 1).cloned()
        };
        let name = after("--bin")
            .or_else(|| after("--example"))
            .or_else(|| after("-p"))?;
        return Some((name, args));
    }
    let name = first.strip_prefix("target/release/").unwrap_or(&first).to_owned();
    Some((name, words.split_off(1)))
}
