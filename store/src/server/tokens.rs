//! The life of tokens: every member tells the others which it saw used, and the leader ends what nobody used for long.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Error, Handle};
use crate::auth::Change;
use crate::limits::{TOKEN_TICK, TOKEN_TICKS_PER_LIFE, TOKENS_PER_COMMAND_MAX};
use crate::machine::command::Command;

/// Does both until the member stops.
pub async fn keep(handle: Handle, ttl: Duration) -> Result<(), Error> {
    let mut led = None;
    let mut ticks = interval(TOKEN_TICK.min(ttl / TOKEN_TICKS_PER_LIFE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = handle.leadership_now();
        let tokens = handle.machine().tokens();
        let used = tokens.used_lately(ttl, Instant::now(), TOKENS_PER_COMMAND_MAX);
        propose(&handle, used, Change::TokensRenew).await;
        if !now.is_self {
            led = None;
            continue;
        }
        if led.replace(now.term) != Some(now.term) {
            tokens.extend_all(Instant::now());
        }
        let due = tokens.due(ttl, Instant::now(), TOKENS_PER_COMMAND_MAX);
        propose(&handle, due, |tokens| Change::TokensExpire { term: now.term.0, tokens }).await;
    }
}

async fn propose<T>(handle: &Handle, tokens: Vec<T>, change: impl FnOnce(Vec<T>) -> Change) {
    if tokens.is_empty() {
        return;
    }
    let count = tokens.len();
    // They stay used or due, and the next tick tries again.
    if let Err(error) = handle.propose(&Command::Auth(change(tokens))).await {
        tracing::debug!(count, %error, "tokens could not be renewed or ended yet");
    }
}
