//! Flags before the command: etcdctl takes its global flags anywhere, and scripts put them first.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};

use clap::{Arg, Args, Command, Parser};

use super::Common;

/// What this process was called with; ends it where that makes no sense, or asks for help.
pub fn parse<P: Parser>() -> P {
    let mut program = P::command();
    let words = behind(&program, std::env::args_os());
    let parsed =
        program.try_get_matches_from_mut(words).and_then(|mut matches| P::from_arg_matches_mut(&mut matches));
    parsed.unwrap_or_else(|error| error.format(&mut program).exit())
}

/// Moves the flags that all commands of the store have from before a command to behind it, where it reads them. Other
/// words stay as they are, also those that make no sense: whoever parses them says so.
fn behind(program: &Command, words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let everywhere = Common::augment_args(Command::new("store"));
    let mut words: VecDeque<_> = words.into_iter().collect();
    let mut seen: Vec<_> = words.pop_front().into_iter().collect();
    let (mut command, mut moved) = (program, Vec::new());
    while command.has_subcommands() {
        let Some(word) = words.pop_front() else { break };
        if let Some(named) = command.find_subcommand(&word) {
            command = named;
            seen.push(word);
            continue;
        }
        // First those of all commands: a program that also serves has some of their names, and reads them wherever they stand.
        let (flag, to) = match (flag(&everywhere, &word), flag(command, &word)) {
            (Some(flag), _) => (flag, &mut moved),
            (None, Some(flag)) => (flag, &mut seen),
            (None, None) => {
                words.push_front(word);
                break;
            }
        };
        let complete = !takes_next_word(flag, &word);
        to.push(word);
        if !complete {
            to.extend(words.pop_front());
        }
    }
    seen.into_iter().chain(moved).chain(words).collect()
}

/// The flag of a command that a word is, with or without its value.
fn flag<'a>(command: &'a Command, word: &OsStr) -> Option<&'a Arg> {
    let word = word.to_str()?;
    match word.strip_prefix("--") {
        Some(long) => {
            let name = long.split_once('=').map_or(long, |(name, _)| name);
            command.get_arguments().find(|flag| flag.get_long() == Some(name))
        }
        None => {
            let short = word.strip_prefix('-')?.chars().next()?;
            command.get_arguments().find(|flag| flag.get_short() == Some(short))
        }
    }
}

/// Whether its value is the word after it.
fn takes_next_word(flag: &Arg, word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    let ends = if word.starts_with("--") { !word.contains('=') } else { word.chars().count() == 2 };
    ends && flag.get_action().takes_values() && !flag.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand};

    use super::*;

    fn moved(line: &str) -> String {
        let program = crate::ctl::Command::augment_subcommands(Command::new("kontiki"))
            .args([clap::arg!(--"discovery-srv" <DOMAIN>), clap::arg!(--name <NAME>)])
            .subcommand(Command::new("up").arg(clap::arg!(--directory <DIRECTORY>)));
        let words = behind(&program, line.split(' ').map(OsString::from));
        if !expected_to_fail(line) {
            let parsed = program.clone().try_get_matches_from(&words).unwrap();
            if parsed.subcommand_name().is_some_and(|name| name != "up") {
                crate::ctl::Command::from_arg_matches(&parsed).unwrap();
            }
        }
        words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    /// Makes no sense, wherever the flags stand.
    fn expected_to_fail(line: &str) -> bool {
        line.contains("wrong") || line.ends_with("--endpoints")
    }

    #[test]
    fn flags_are_read_wherever_they_stand() {
        for (line, expected) in [
            ("kontiki kv get a", "kontiki kv get a"),
            ("kontiki kv get a --hex", "kontiki kv get a --hex"),
            ("kontiki --endpoints h:1 kv get a", "kontiki kv get --endpoints h:1 a"),
            (
                "kontiki --endpoints=h:1 -w json kv --hex get a",
                "kontiki kv get --endpoints=h:1 -w json --hex a",
            ),
            ("kontiki -wjson kv put a -- -1", "kontiki kv put -wjson a -- -1"),
            ("kontiki --insecure-transport kv get a", "kontiki kv get --insecure-transport a"),
            // A flag of the family stays where it is.
            ("kontiki --hex endpoint --cluster status", "kontiki endpoint --cluster status --hex"),
            ("kontiki --hex lock a -- make --hex", "kontiki lock --hex a -- make --hex"),
            ("kontiki --discovery-srv a.b kv get a", "kontiki kv get --discovery-srv a.b a"),
            ("kontiki --discovery-srv a.b --name n", "kontiki --name n --discovery-srv a.b"),
            ("kontiki up --directory d", "kontiki up --directory d"),
            ("kontiki --wrong kv get a", "kontiki --wrong kv get a"),
            ("kontiki --hex wrong", "kontiki --hex wrong"),
            ("kontiki --endpoints", "kontiki --endpoints"),
        ] {
            assert_eq!(moved(line), expected, "{line}");
        }
    }
}
