//! Asking for a password without showing it.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::limits::NAME_BYTES_MAX;

/// Reads a line from standard input; from a terminal, after asking and without an echo.
pub fn secret(question: &str) -> io::Result<String> {
    let input = io::stdin();
    let _silent = if input.is_terminal() {
        write!(io::stderr(), "{question}")?;
        Some(Silence::begin()?)
    } else {
        None
    };
    line(&mut input.lock())
}

/// The same twice: both must be equal.
pub fn new_secret(question: &str) -> io::Result<String> {
    let first = secret(question)?;
    if io::stdin().is_terminal() && secret("Type it again: ")? != first {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "given passwords are different"));
    }
    Ok(first)
}

fn line(input: &mut dyn BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.take(NAME_BYTES_MAX as u64 + 2).read_line(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// As long as the terminal does not show what is typed.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // The end of the line was not shown either. If the terminal is gone, nobody minds.
        let _shown_again = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
        drop(writeln!(io::stderr()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_without_its_end() {
        for (typed, expected) in [("p w\n", "p w"), ("p\r\nnext\n", "p"), ("p", "p"), ("", "")] {
            assert_eq!(line(&mut typed.as_bytes()).unwrap(), expected);
        }
        let endless = vec![b'x'; 10 * NAME_BYTES_MAX];
        assert!(line(&mut endless.as_slice()).unwrap().len() <= NAME_BYTES_MAX + 2);
    }
}
