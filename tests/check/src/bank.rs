//! Accounts between which money moves in transactions over two keys: each moves all or nothing, and the sum stays (S7).
//!
//! Two judgements. By time: calls against a model of the whole bank, for [`linear::check`](crate::linear::check). By revision: the
//! ledger, as one complete watch told it, and reads without agreement, which must have seen a past of it (S5).

use std::collections::{BTreeMap, HashMap};

use crate::linear::{Model, Timed};

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The money.
    pub balance: i64,
    /// The number of the transfer that wrote it; each has its own.
    pub writer: u64,
    /// Where it was written.
    pub revision: i64,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// If neither of two accounts has changed since it was seen, write both. Else read both.
    Transfer {
        /// The accounts.
        accounts: [usize; 2],
        /// Where each must have been written last.
        expected: [i64; 2],
        /// What each is to hold.
        balances: [i64; 2],
        /// The number of this transfer.
        number: u64,
    },
    /// Read all accounts at once.
    Audit,
}

/// What was answered; `revision` is the one in the answer's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The money was moved.
    Moved {
        /// The revision.
        revision: i64,
    },
    /// Nothing was changed; this is what was read.
    Seen {
        /// The newest revision.
        revision: i64,
        /// The two accounts, or all.
        accounts: Vec<Account>,
    },
}

/// A call with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub action: Action,
    /// What was answered, if anything was.
    pub answer: Option<Answer>,
}

/// All accounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bank {
    /// The newest revision.
    pub revision: i64,
    /// Each account.
    pub accounts: Vec<Account>,
}

impl Bank {
    /// A bank with so many accounts, all of which were opened at a revision with the same balance.
    pub fn open(accounts: usize, balance: i64, revision: i64) -> Self {
        Self { revision, accounts: vec![Account { balance, writer: 0, revision }; accounts] }
    }

    /// All money.
    pub fn sum(&self) -> i64 {
        self.accounts.iter().map(|account| account.balance).sum()
    }

    fn pair(&self, [one, other]: [usize; 2]) -> Option<[Account; 2]> {
        Some([*self.accounts.get(one)?, *self.accounts.get(other)?])
    }
}

impl Model for Bank {
    type State = Bank;
    type Call = Call;

    fn initial(&self) -> Bank {
        self.clone()
    }

    fn step(&self, bank: &Bank, call: &Call) -> Option<Bank> {
        let seen = |held: &[Account]| match &call.answer {
            None => true,
            Some(Answer::Seen { revision, accounts }) => *revision == bank.revision && accounts == held,
            Some(Answer::Moved { .. }) => false,
        };
        let Action::Transfer { accounts, expected, balances, number } = call.action else {
            return seen(&bank.accounts).then(|| bank.clone());
        };
        let held = bank.pair(accounts)?;
        if held.map(|account| account.revision) != expected {
            return seen(&held).then(|| bank.clone());
        }
        let revision = bank.revision + 1;
        let moved = call.answer.as_ref().is_none_or(|answer| *answer == Answer::Moved { revision });
        moved.then(|| {
            let mut after = Bank { revision, accounts: bank.accounts.clone() };
            for (at, balance) in accounts.into_iter().zip(balances) {
                after.accounts[at] = Account { balance, writer: number, revision };
            }
            after
        })
    }
}

/// One response of a watch: which accounts changed to what.
pub type Told = Vec<(usize, Account)>;

/// What is wrong with the ledger, or with what somebody saw beside it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Revisions are not counted one by one, or one was told in pieces.
    #[error("after revision {after} comes {revision}")]
    Gap {
        /// The last in order.
        after: i64,
        /// What follows.
        revision: i64,
    },
    /// A revision does not hold both halves of one transfer.
    #[error("revision {revision} holds {told:?}")]
    Torn {
        /// The revision.
        revision: i64,
        /// What it holds.
        told: Told,
    },
    /// Money was made or lost.
    #[error("the sum is {sum} at revision {revision} and was {before} in the beginning")]
    Sum {
        /// The revision.
        revision: i64,
        /// The sum then.
        sum: i64,
        /// The sum in the beginning.
        before: i64,
    },
    /// An acknowledged transfer is not there.
    #[error("transfer {number} was acknowledged at {revision} and stands at {found:?}")]
    Lost {
        /// Its number.
        number: u64,
        /// The revision that was answered.
        revision: i64,
        /// Where it stands.
        found: Option<i64>,
    },
    /// A read saw what never was.
    #[error("at revision {revision} there was {truth:?}, a read saw {seen:?}")]
    NeverWas {
        /// The revision.
        revision: i64,
        /// What there was.
        truth: Option<Vec<Account>>,
        /// What was seen.
        seen: Vec<Account>,
    },
}

/// Every state the bank was in.
#[derive(Clone, Debug)]
pub struct Ledger {
    states: BTreeMap<i64, Bank>,
    transfers: HashMap<u64, i64>,
}

impl Ledger {
    /// Takes the responses of a watch that began after the bank was opened.
    pub fn new(opened: &Bank, responses: impl IntoIterator<Item = Told>) -> Result<Self, Fault> {
        let mut ledger =
            Self { states: BTreeMap::from([(opened.revision, opened.clone())]), transfers: HashMap::new() };
        let mut bank = opened.clone();
        for response in responses {
            for told in response.chunk_by(|one, other| one.1.revision == other.1.revision) {
                ledger.transfer(&mut bank, told)?;
                if bank.sum() != opened.sum() {
                    let (revision, sum, before) = (bank.revision, bank.sum(), opened.sum());
                    return Err(Fault::Sum { revision, sum, before });
                }
                ledger.states.insert(bank.revision, bank.clone());
            }
        }
        Ok(ledger)
    }

    fn transfer(&mut self, bank: &mut Bank, told: &[(usize, Account)]) -> Result<(), Fault> {
        let torn = |revision| Fault::Torn { revision, told: told.to_vec() };
        let [(one, first), (other, second)] = told else {
            let revision = told.first().map_or(bank.revision, |(_, account)| account.revision);
            return Err(torn(revision));
        };
        let revision = first.revision;
        if revision != bank.revision + 1 {
            return Err(Fault::Gap { after: bank.revision, revision });
        }
        let known = *one < bank.accounts.len() && *other < bank.accounts.len();
        let again = self.transfers.insert(first.writer, revision).is_some();
        if !known || again || one == other || first.writer != second.writer {
            return Err(torn(revision));
        }
        bank.revision = revision;
        (bank.accounts[*one], bank.accounts[*other]) = (*first, *second);
        Ok(())
    }

    /// How many transfers there are.
    pub fn len(&self) -> usize {
        self.transfers.len()
    }

    /// Whether no money was moved.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Nothing acknowledged is missing.
    pub fn holds_all(&self, history: &[Timed<Call>]) -> Result<(), Fault> {
        for timed in history {
            let (Action::Transfer { number, .. }, Some(Answer::Moved { revision })) =
                (&timed.call.action, &timed.call.answer)
            else {
                continue;
            };
            let (number, revision, found) = (*number, *revision, self.transfers.get(number).copied());
            if found != Some(revision) {
                return Err(Fault::Lost { number, revision, found });
            }
        }
        Ok(())
    }

    /// A read without agreement saw a state that was: the one at the revision it names.
    pub fn is_past(&self, revision: i64, seen: &[Account]) -> Result<(), Fault> {
        let truth = self.states.get(&revision).map(|bank| bank.accounts.clone());
        if truth.as_deref() == Some(seen) {
            return Ok(());
        }
        Err(Fault::NeverWas { revision, truth, seen: seen.to_vec() })
    }

    /// Settles calls without an answer: transfers that are in the ledger happened, at some time after the call; all else is
    /// left out.
    pub fn tighten(&self, history: Vec<Timed<Call>>) -> Vec<Timed<Call>> {
        let settle = |mut timed: Timed<Call>| match (timed.call.answer.is_some(), timed.call.action) {
            (true, _) => Some(timed),
            (false, Action::Transfer { number, .. }) => {
                let revision = self.transfers.get(&number).copied()?;
                timed.call.answer = Some(Answer::Moved { revision });
                Some(timed)
            }
            (false, Action::Audit) => None,
        };
        history.into_iter().filter_map(settle).collect()
    }
}
