//! Passwords: kept only as what a slow function makes of them, together with fresh salt.
//!
//! The function is PBKDF2 with HMAC-SHA-512. A guess costs whoever steals the state as many steps as it cost the user's
//! login. The record says how many, so a user keeps the number the password was set with.
//!
//! | bytes | record |
//! |---|---|
//! | 1 | function, 1 |
//! | 4 | number of steps, little endian |
//! | 16 | salt |
//! | 32 | result |
//!
//! Hashing takes about a tenth of a second of one core, on purpose. So it happens on the member that takes the call,
//! never while applying; on threads for blocking work; few at a time, and with a bounded queue: a flood of logins is
//! slow for those who log in and for nobody else.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::pbkdf2;
use raft::Work;
use rand::RngCore;
use store_client::Error;
use tokio::sync::Semaphore;

use crate::limits::{PASSWORD_STEPS_AT_COST_10, PASSWORDS_WAITING_MAX};

const FUNCTION: u8 = 1;
const SALT_BYTES: usize = 16;
const RESULT_BYTES: usize = 32;
const RECORD_BYTES: usize = 1 + 4 + SALT_BYTES + RESULT_BYTES;

/// Least cost, as of etcd's flag `--bcrypt-cost`.
pub const COST_MIN: u8 = 4;
/// Greatest cost.
pub const COST_MAX: u8 = 24;
/// Cost unless told otherwise, as etcd's.
pub const COST_DEFAULT: u8 = 10;

/// Steps of the function at a cost; one more doubles them.
pub fn steps(cost: u8) -> NonZeroU32 {
    let cost = u32::from(cost.clamp(COST_MIN, COST_MAX));
    let at_min = PASSWORD_STEPS_AT_COST_10 >> (u32::from(COST_DEFAULT) - u32::from(COST_MIN));
    let steps = at_min.saturating_mul(1 << (cost - u32::from(COST_MIN)));
    NonZeroU32::new(steps).unwrap_or(NonZeroU32::MIN)
}

/// What a password is recognized by.
#[derive(Clone, PartialEq, Eq)]
pub struct Hashed([u8; RECORD_BYTES]);

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Hashed {
    /// Hashes a password with fresh salt. Takes long; see [`Hasher`].
    pub fn of(password: &str, steps: NonZeroU32) -> Self {
        let mut record = [0; RECORD_BYTES];
        record[0] = FUNCTION;
        record[1..5].copy_from_slice(&steps.get().to_le_bytes());
        let (head, result) = record.split_at_mut(5 + SALT_BYTES);
        let salt = &mut head[5..];
        rand::rng().fill_bytes(salt);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, steps, salt, password.as_bytes(), result);
        Self(record)
    }

    /// Whether it is the hash of a password. Takes long; see [`Hasher`].
    pub fn is_of(&self, password: &str) -> bool {
        let (salt, result) = self.0[5..].split_at(SALT_BYTES);
        let steps = self.steps().unwrap_or(NonZeroU32::MIN);
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, steps, salt, password.as_bytes(), result).is_ok()
    }

    fn steps(&self) -> Option<NonZeroU32> {
        let field: [u8; 4] = self.0.get(1..5)?.try_into().ok()?;
        NonZeroU32::new(u32::from_le_bytes(field))
    }

    /// The record.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a record; `None` if it is none.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let hashed = Self(record.try_into().ok()?);
        let known = hashed.0[0] == FUNCTION && hashed.steps().is_some_and(|n| n <= steps(COST_MAX));
        known.then_some(hashed)
    }
}

/// Hashes and compares passwords, few at a time.
#[derive(Clone, Debug)]
pub struct Hasher {
    steps: NonZeroU32,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    work: Work,
}

/// Somebody who waits for a turn, or has one.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hasher {
    /// A hasher of a cost. It uses at most half of the machine's cores.
    pub fn new(cost: u8, work: Work) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            steps: steps(cost),
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Arc::default(),
            work,
        }
    }

    /// Hashes a password.
    pub async fn hash(&self, password: String) -> Result<Hashed, Error> {
        let steps = self.steps;
        self.run(move || Hashed::of(&password, steps)).await
    }

    /// Compares a password. Without anything to compare with it takes as long, so that nobody learns from the time who
    /// exists.
    pub async fn compare(&self, hashed: Option<Hashed>, password: String) -> Result<bool, Error> {
        let steps = self.steps;
        self.run(move || match hashed {
            Some(hashed) => hashed.is_of(&password),
            None => {
                let mut result = [0; RESULT_BYTES];
                let nobody = [0; SALT_BYTES];
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, steps, &nobody, password.as_bytes(), &mut result);
                false
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self.waiting.clone());
        if before >= PASSWORDS_WAITING_MAX {
            return Err(Error::Unavailable(TOO_MANY.to_owned()));
        }
        let stopped = || Error::Unavailable("the member has stopped".to_owned());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| stopped())?;
        // The turn ends with the work, even if the caller has gone.
        let work = move || {
            let _turn = turn;
            work()
        };
        self.work.run(work).await.map_err(|_| stopped())
    }
}

/// What etcd says to a crowd.
pub const TOO_MANY: &str = "too many requests";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recognized_by_its_hash_alone() {
        let hashed = Hashed::of("secret", steps(COST_MIN));
        assert!(hashed.is_of("secret"));
        assert!(!hashed.is_of("Secret") && !hashed.is_of(""));
        assert_ne!(hashed, Hashed::of("secret", steps(COST_MIN)), "the salt differs");
        assert_eq!(Hashed::decode(hashed.as_bytes()), Some(hashed.clone()));
        assert_eq!(format!("{hashed:?}"), "***");
        let mut other = hashed.as_bytes().to_vec();
        other[0] = 2;
        assert_eq!(Hashed::decode(&other), None);
        assert_eq!(Hashed::decode(&hashed.as_bytes()[1..]), None);
        other[..5].copy_from_slice(&[FUNCTION, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(Hashed::decode(&other), None, "a record must not be able to hold up a core for minutes");
    }

    #[test]
    fn each_cost_doubles_the_work() {
        assert_eq!(steps(COST_DEFAULT).get(), PASSWORD_STEPS_AT_COST_10);
        for cost in COST_MIN..COST_MAX {
            assert_eq!(steps(cost + 1).get(), 2 * steps(cost).get());
        }
    }

    #[tokio::test]
    async fn a_crowd_is_refused_at_once() {
        let hasher = Hasher::new(COST_MIN, Work::default());
        let all = hasher.turns.clone().acquire_many_owned(hasher.turns.available_permits() as u32);
        let turns = all.await.unwrap();
        let waiting: Vec<_> = (0..PASSWORDS_WAITING_MAX)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.compare(None, String::new()).await })
            })
            .collect();
        while hasher.waiting.load(Ordering::Relaxed) < PASSWORDS_WAITING_MAX {
            tokio::task::yield_now().await;
        }
        let refused = hasher.compare(None, String::new()).await;
        assert!(matches!(refused, Err(Error::Unavailable(text)) if text == TOO_MANY));
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        while hasher.waiting.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        drop(turns);
        let hashed = hasher.hash("p".to_owned()).await.unwrap();
        assert!(hasher.compare(Some(hashed), "p".to_owned()).await.unwrap(), "and there is room again");
    }
}
