//! Questions before what cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::error::CliError;

/// Asks the user, unless `yes` answers. Where nobody can be asked, the answer is no.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(
            format!("nobody can be asked: {question}"),
            "--yes says that it is meant",
        ));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Conflict { message: "nothing was done".to_owned(), hint: None }),
    }
}
