//! Where the documents of a site come from: files, directories of files, and standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use clap::{Args, ValueHint};

use crate::error::CliError;
use crate::site::{self, SiteObject};

/// Largest site file.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Deepest directory that `-R` goes into.
const DEPTH_MAX: usize = 16;

/// The files of a site.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// Site file, YAML or JSON, or a directory of them; - for standard input (may be repeated)
    #[arg(short, long, value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub file: Vec<String>,
    /// Also what is in the directories of a directory
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Reads all files as one site; a directory stands for its files, in the order of their names.
pub(crate) fn read(args: &FileArgs) -> Result<Vec<SiteObject>, CliError> {
    let recursive = args.recursive;
    let mut texts = Vec::new();
    for path in &args.file {
        if path == "-" {
            texts.push(("standard input".to_owned(), read_text("standard input", io::stdin())?));
        } else if Path::new(path).is_dir() {
            let mut files = Vec::new();
            collect(Path::new(path), recursive, 0, &mut files)?;
            if files.is_empty() {
                return Err(CliError::usage(
                    format!("{path} has no file that ends in .yaml, .yml or .json"),
                    if recursive { "name the files" } else { "-R looks into its directories too" },
                ));
            }
            for file in files {
                texts.push((file.clone(), read_file(&file)?));
            }
        } else {
            texts.push((path.clone(), read_file(path)?));
        }
    }
    site::parse(&texts)
}

fn collect(directory: &Path, recursive: bool, depth: usize, files: &mut Vec<String>) -> Result<(), CliError> {
    let failed = |source| CliError::File { path: directory.display().to_string(), source };
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive && depth < DEPTH_MAX {
                collect(&path, recursive, depth + 1, files)?;
            }
        } else if path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json") {
            files.push(path.display().to_string());
        }
    }
    Ok(())
}

fn read_file(path: &str) -> Result<String, CliError> {
    read_text(path, File::open(path).map_err(|source| CliError::File { path: path.to_owned(), source })?)
}

fn read_text(path: &str, reader: impl Read) -> Result<String, CliError> {
    let mut text = String::new();
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let length = reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(CliError::usage(
            format!("{path} is longer than {FILE_BYTES_MAX} bytes"),
            "cut it in two",
        ));
    }
    Ok(text)
}
