//! Tokens that stand for users: what they look like, and when this member believes that they end.
//!
//! A token is `RANDOM.INDEX`, as etcd's simple tokens: sixteen letters, and the index of the log entry that issued it. The
//! index lets a member that is asked with a token it does not know tell whether it is behind. The random part is a
//! secret; the state knows its SHA-256.
//!
//! Tokens live like leases: which are good is replicated, only the clock is here. Each member counts from when it applied
//! the issue or the last renewal. A member that sees a token used proposes its renewal, but not more often than a few
//! times in its life, and the leader proposes the end of what is overdue; the command names the renewal it knew.
//!
//! This module is told the time; it never asks.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::limits::TOKEN_RENEWALS_PER_LIFE;

/// What a token is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 32]);

/// What is known about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whom it stands for.
    pub user: String,
    /// Index of the log entry that issued it.
    pub issued: u64,
    /// Index of the last renewal.
    pub renewed: u64,
}

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LENGTH: usize = 16;

/// The random part of a new token.
pub fn random() -> String {
    let mut random = rand::rng();
    (0..LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// The text of a token.
pub fn text(random: &str, issued: u64) -> String {
    format!("{random}.{issued}")
}

/// What a random part is known by.
pub fn id(random: &str) -> TokenId {
    TokenId(Sha256::digest(random.as_bytes()).into())
}

/// What a token is known by, and the index it was issued at; `None` if it does not look like a token.
pub fn parse(text: &str) -> Option<(TokenId, u64)> {
    let (random, issued) = text.split_once('.')?;
    Some((id(random), issued.parse().ok()?))
}

/// What a command did to a token.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It was issued or renewed, at an index.
    Renewed(TokenId, u64),
    /// It is gone.
    Ended(TokenId),
}

/// The deadlines of all tokens.
#[derive(Debug, Default)]
pub struct Deadlines {
    tokens: Mutex<HashMap<TokenId, Clock>>,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    renewed: u64,
    since: Instant,
    used: bool,
}

impl Deadlines {
    /// Starts anew with these tokens, each with its full time.
    pub fn replace(&self, tokens: impl Iterator<Item = (TokenId, u64)>, now: Instant) {
        let clock = |renewed| Clock { renewed, since: now, used: false };
        *self.tokens.lock() = tokens.map(|(id, renewed)| (id, clock(renewed))).collect();
    }

    /// Takes note of what commands did.
    pub fn apply(&self, events: &[Event], now: Instant) {
        if events.is_empty() {
            return;
        }
        let mut tokens = self.tokens.lock();
        for event in events {
            match event {
                Event::Renewed(id, renewed) => {
                    tokens.insert(*id, Clock { renewed: *renewed, since: now, used: false });
                }
                Event::Ended(id) => {
                    tokens.remove(id);
                }
            }
        }
    }

    /// A token was used.
    pub fn used(&self, id: TokenId) {
        if let Some(clock) = self.tokens.lock().get_mut(&id) {
            clock.used = true;
        }
    }

    /// Gives every token its full time again: what a new leader does, because renewals may have been lost with the old
    /// one.
    pub fn extend_all(&self, now: Instant) {
        self.tokens.lock().values_mut().for_each(|clock| clock.since = now);
    }

    /// Tokens whose use is to be told, at most `max`.
    pub fn used_lately(&self, ttl: Duration, now: Instant, max: usize) -> Vec<TokenId> {
        let patience = ttl / TOKEN_RENEWALS_PER_LIFE;
        let tokens = self.tokens.lock();
        let told =
            tokens.iter().filter(|(_, clock)| clock.used && now.duration_since(clock.since) >= patience);
        told.map(|(id, _)| *id).take(max).collect()
    }

    /// Tokens whose time is up, at most `max`, each with its last renewal. One that was used is given the time to be
    /// renewed.
    pub fn due(&self, ttl: Duration, now: Instant, max: usize) -> Vec<(TokenId, u64)> {
        let tokens = self.tokens.lock();
        let life = ttl + ttl / TOKEN_RENEWALS_PER_LIFE;
        let due = tokens.iter().filter(|(_, clock)| !clock.used && now.duration_since(clock.since) >= life);
        due.map(|(id, clock)| (*id, clock.renewed)).take(max).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_form_of_etcds() {
        let random = random();
        assert!(random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_alphabetic()), "{random}");
        assert_eq!(parse(&text(&random, 42)), Some((id(&random), 42)));
        for wrong in ["", "abc", ".", "abc.", "abc.x", "abc.-1", "a.b.1", "abc.99999999999999999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_ne!(id(&random).0.as_slice(), random.as_bytes());
    }

    #[test]
    fn tokens_end_when_nobody_uses_them() {
        const TTL: Duration = Duration::from_secs(30);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (idle, used) = (id("idle"), id("used"));
        let deadlines = Deadlines::default();
        deadlines.apply(&[Event::Renewed(idle, 1), Event::Renewed(used, 2)], start);
        deadlines.used(used);
        assert_eq!(deadlines.used_lately(TTL, after(9), 9), [], "a renewal is not worth it yet");
        assert_eq!(deadlines.used_lately(TTL, after(10), 9), [used]);
        assert_eq!(deadlines.due(TTL, after(39), 9), [], "the last use may have been told late");
        assert_eq!(deadlines.due(TTL, after(40), 9), [(idle, 1)]);
        deadlines.apply(&[Event::Renewed(used, 7), Event::Ended(idle)], after(40));
        assert_eq!(deadlines.used_lately(TTL, after(60), 9), [], "it was told");
        assert_eq!(deadlines.due(TTL, after(80), 9), [(used, 7)]);
        deadlines.extend_all(after(80));
        assert_eq!(deadlines.due(TTL, after(100), 9), []);
        deadlines.replace([(idle, 9)].into_iter(), after(100));
        assert_eq!(deadlines.due(TTL, after(140), 9), [(idle, 9)]);
    }
}
