//! Evaluating a transaction on a draft.
//!
//! As in etcd, the branch of every transaction, nested ones included, is decided before anything is written, and
//! everything that can be refused is checked on the branches that will run. What runs then cannot fail, but for a
//! read whose answer is too large: that takes back the whole command.

use store_client::{Error as Refusal, Op, OpResult, Revision, Txn, TxnResult};

use super::Error;
use super::draft::{Draft, Failure, key_not_found};

/// The branch that will run.
struct Plan<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Op(&'a Op),
    Txn(Plan<'a>),
}

impl Draft<'_> {
    /// Runs a transaction. To be called inside [`Draft::command`], which takes back what a late refusal leaves.
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnResult, Failure> {
        let plan = self.plan(txn)?;
        self.check(&plan)?;
        self.execute(&plan)
    }

    fn plan<'t>(&mut self, txn: &'t Txn) -> Result<Plan<'t>, Error> {
        let mut succeeded = true;
        for compare in &txn.compare {
            let value = matches!(compare.target, store_client::Target::Value(_));
            let found = self.found(&compare.keys, value)?;
            if !compare.holds(found.iter().map(|current| &current.kv)) {
                succeeded = false;
                break;
            }
        }
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let mut steps = Vec::with_capacity(ops.len());
        for op in ops {
            steps.push(match op {
                Op::Txn(nested) => Step::Txn(self.plan(nested)?),
                Op::Range(_) | Op::Put { .. } | Op::Delete { .. } => Step::Op(op),
            });
        }
        Ok(Plan { succeeded, steps })
    }

    /// In the order in which it will run: of two things that are wrong, etcd names the first, since 3.6; it named writes before reads.
    fn check(&mut self, plan: &Plan<'_>) -> Result<(), Failure> {
        for step in &plan.steps {
            match step {
                Step::Txn(nested) => self.check(nested)?,
                Step::Op(Op::Put { key, lease, ignore_value, ignore_lease, .. }) => {
                    if (*ignore_value || *ignore_lease) && self.current(key, false)?.is_none() {
                        return Err(key_not_found().into());
                    }
                    if lease.0 != 0 && self.lease(*lease)?.is_none() {
                        return Err(Refusal::LeaseNotFound.into());
                    }
                }
                Step::Op(Op::Range(range)) => self.check_readable(range)?,
                Step::Op(Op::Delete { .. } | Op::Txn(_)) => {}
            }
        }
        Ok(())
    }

    fn execute(&mut self, plan: &Plan<'_>) -> Result<TxnResult, Failure> {
        let mut results = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            results.push(match step {
                Step::Txn(nested) => OpResult::Txn(self.execute(nested)?),
                Step::Op(op) => self.execute_op(op)?,
            });
        }
        Ok(TxnResult { revision: Revision(self.newest()), succeeded: plan.succeeded, results })
    }

    fn execute_op(&mut self, op: &Op) -> Result<OpResult, Failure> {
        match op {
            Op::Range(range) => Ok(OpResult::Range(self.range(range)?)),
            Op::Put { key, value, lease, prev_kv, ignore_value, ignore_lease } => {
                let before = self.current(key, *prev_kv || *ignore_value)?;
                let kept = before.as_ref().map(|current| &current.kv);
                let value = kept.filter(|_| *ignore_value).map_or(value, |kv| &kv.value);
                let lease = kept.filter(|_| *ignore_lease).map_or(*lease, |kv| kv.lease);
                self.put(key, value, lease, before.as_ref());
                Ok(OpResult::Put { prev_kv: before.filter(|_| *prev_kv).map(|current| current.kv) })
            }
            Op::Delete { keys, prev_kv } => {
                let found = self.found(keys, *prev_kv)?;
                for before in &found {
                    self.delete(before);
                }
                let deleted = i64::try_from(found.len()).expect("fewer keys than i64 counts");
                let prev_kvs = found.into_iter().filter(|_| *prev_kv).map(|current| current.kv).collect();
                Ok(OpResult::Delete { deleted, prev_kvs })
            }
            Op::Txn(_) => unreachable!("planned as a nested plan"),
        }
    }
}

/// Whether a transaction can be answered without the log.
pub fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Range(_) => true,
        Op::Put { .. } | Op::Delete { .. } => false,
        Op::Txn(nested) => is_read_only(nested),
    })
}
