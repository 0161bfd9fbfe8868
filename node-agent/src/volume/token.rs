//! Service account tokens of pods: asked for through TokenRequest, bound to the pod, renewed in time.

use std::{collections::BTreeMap, time::Duration};

use api::objects::Target;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::payload::TokenAsk;
use crate::{limits, pod::spec, sys::clock::after};

/// The tokens of one pod. Lost with the agent, and asked for anew.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    held: BTreeMap<TokenAsk, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    text: String,
    renew_at: Timestamp,
}

impl Tokens {
    /// Gets what is asked for and not held, or due for renewal. A token that cannot be renewed is kept while
    /// it lasts.
    pub async fn refresh(
        &mut self,
        client: &client::Client,
        pod: &Pod,
        asks: &[TokenAsk],
        now: Timestamp,
    ) -> Result<(), String> {
        for ask in asks {
            if self.held.get(ask).is_some_and(|held| held.renew_at > now) {
                continue;
            }
            match request(client, pod, ask).await {
                Ok((text, expires)) => {
                    self.held.insert(ask.clone(), Held { text, renew_at: renew_at(now, expires) });
                }
                Err(why) => match self.held.get_mut(ask) {
                    Some(held) => held.renew_at = after(now, limits::TOKEN_REFRESH_MIN),
                    None => return Err(format!("failed to fetch token: {why}")),
                },
            }
        }
        Ok(())
    }

    /// The tokens by what was asked for.
    pub fn texts(&self) -> BTreeMap<TokenAsk, String> {
        self.held.iter().map(|(ask, held)| (ask.clone(), held.text.clone())).collect()
    }

    /// When the first is due for renewal.
    pub fn due(&self) -> Option<Timestamp> {
        self.held.values().map(|held| held.renew_at).min()
    }
}

/// After 80 % of its life, or a day.
fn renew_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    let share = life * u32::try_from(limits::TOKEN_REFRESH_PERCENT).unwrap_or(80) / 100;
    after(now, share.clamp(limits::TOKEN_REFRESH_MIN, limits::TOKEN_AGE_MAX))
}

async fn request(client: &client::Client, pod: &Pod, ask: &TokenAsk) -> Result<(String, Timestamp), String> {
    let account =
        spec::of(pod).service_account_name.as_deref().filter(|n| !n.is_empty()).unwrap_or("default");
    let resource = api::GroupVersionResource::new("", "v1", "serviceaccounts");
    let target = Target::new(resource, spec::namespace(pod), account).subresource("token");
    let audiences: Vec<&str> = if ask.audience.is_empty() { Vec::new() } else { vec![&ask.audience] };
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": ask.expiration_s,
            "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": spec::name(pod), "uid": spec::uid(pod),
            },
        },
    });
    let sent = client.objects().create(&target, body.to_string().into(), client.write_options()).await;
    let answer: Value =
        serde_json::from_slice(&sent.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let token = answer.pointer("/status/token").and_then(Value::as_str).ok_or("the answer has no token")?;
    let expires = answer.pointer("/status/expirationTimestamp").and_then(Value::as_str).unwrap_or("");
    let expires = expires.parse().map_err(|_| "the answer has no expiration".to_owned())?;
    Ok((token.to_owned(), expires))
}

#[cfg(test)]
mod tests {
    use super::{Duration, Timestamp, after, renew_at};

    #[test]
    fn tokens_are_renewed_before_they_expire_and_at_least_daily() {
        let now = Timestamp::UNIX_EPOCH;
        let hours = |h: u64| after(now, Duration::from_secs(h * 3600));
        assert_eq!(renew_at(now, hours(10)), hours(8));
        assert_eq!(renew_at(now, hours(1_000)), hours(24));
        assert!(renew_at(now, now) > now);
    }
}
