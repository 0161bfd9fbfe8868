//! Strings between double quotes, as etcdctl reads and prints them: Go's.

use std::fmt::Write;

/// Bytes between quotes: what cannot be printed is escaped.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = "\"".to_owned();
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| escape(character, &mut text));
        chunk.invalid().iter().for_each(|byte| hex(*byte, &mut text));
    }
    text.push('"');
    text
}

/// Bytes as hexadecimal escapes.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(4 * bytes.len());
    bytes.iter().for_each(|byte| hex(*byte, &mut text));
    text
}

fn hex(byte: u8, text: &mut String) {
    write!(text, "\\x{byte:02x}").expect("a string takes everything");
}

fn escape(character: char, text: &mut String) {
    let short = match character {
        '"' | '\\' => character,
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        other if !other.is_control() => return text.push(other),
        other => {
            return match u8::try_from(other) {
                Ok(byte) if byte < 0x80 => hex(byte, text),
                _ => write!(text, "\\u{:04x}", u32::from(other)).expect("a string takes everything"),
            };
        }
    };
    text.extend(['\\', short]);
}

/// Takes a quoted string off the front of a text; `None` when there is none that is whole.
pub fn unquoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    loop {
        let character = rest.chars().next()?;
        rest = &rest[character.len_utf8()..];
        match character {
            '"' => return Some((bytes, rest)),
            '\\' => rest = unescaped(rest, &mut bytes)?,
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

/// Reads what follows a backslash.
fn unescaped<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Option<&'t str> {
    let (first, rest) = text.split_at_checked(1)?;
    let plain = match first {
        "a" => 7,
        "b" => 8,
        "f" => 12,
        "n" => b'\n',
        "r" => b'\r',
        "t" => b'\t',
        "v" => 11,
        "\\" | "\"" => first.as_bytes()[0],
        "x" => {
            let (digits, rest) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            return Some(rest);
        }
        "u" | "U" => {
            let (digits, rest) = rest.split_at_checked(if first == "u" { 4 } else { 8 })?;
            let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
            return Some(rest);
        }
        "0" | "1" | "2" | "3" => {
            let (digits, rest) = text.split_at_checked(3)?;
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            return Some(rest);
        }
        _ => return None,
    };
    bytes.push(plain);
    Some(rest)
}

/// The words of a line: bare, between single quotes, or between double ones. `None` when a quote is not closed, or what it
/// holds is no text.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = if rest.starts_with('"') {
            let (bytes, after) = unquoted(rest)?;
            (String::from_utf8(bytes).ok()?, after)
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            let (word, after) = quoted.split_once('\'')?;
            (word.to_owned(), after)
        } else {
            let (word, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            (word.to_owned(), after)
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_quoted_reads_back() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain", "\"plain\""),
            (b"", "\"\""),
            (b"a\"b\\\n\x01\x7f", "\"a\\\"b\\\\\\n\\x01\\x7f\""),
            (b"\xff\xfe", "\"\\xff\\xfe\""),
            ("\u{e4}\u{85}".as_bytes(), "\"\u{e4}\\u0085\""),
            (b"\0", "\"\\x00\""),
        ];
        for (bytes, text) in cases {
            assert_eq!(quoted(bytes), text);
            assert_eq!(unquoted(text), Some((bytes.to_vec(), "")));
        }
        assert_eq!(unquoted("\"\\101\\U0001f600\" rest"), Some(("A\u{1f600}".into(), " rest")));
        for broken in ["", "a", "\"a", "\"\\x1\"", "\"\\xg0\"", "\"\\q\"", "\"\\", "\"\\477\"", "\"\\ud800\""]
        {
            assert_eq!(unquoted(broken), None, "{broken}");
        }
        assert_eq!(escaped(b"a\0"), "\\x61\\x00");
    }

    #[test]
    fn a_line_has_words() {
        let cases: [(&str, &[&str]); 4] = [
            ("put a 1", &["put", "a", "1"]),
            ("  put  'a b' \"c\\td\" ", &["put", "a b", "c\td"]),
            ("get ''", &["get", ""]),
            ("", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for broken in ["put 'a", "put \"a", "put \"\\xff\""] {
            assert_eq!(words(broken), None, "{broken}");
        }
    }
}
