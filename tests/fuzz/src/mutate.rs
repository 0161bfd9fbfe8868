//! Mutations that are the same each time: a plain engine for `make test`.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Longest input in bytes; long enough for every kind of record, short enough to be fast.
const INPUT_BYTES_MAX: usize = 4096;
/// Most changes made to one seed at once.
const CHANGES_MAX: usize = 6;
/// Numbers at which lengths and sums go wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Makes inputs out of seeds.
pub struct Mutator {
    chance: StdRng,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    /// The same numbers and seeds give the same inputs.
    pub fn new(number: u64, mut seeds: Vec<Vec<u8>>) -> Self {
        seeds.push(Vec::new());
        Self { chance: StdRng::seed_from_u64(number), seeds }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        for _ in 0..self.chance.random_range(1..=CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn seed(&mut self) -> Vec<u8> {
        self.seeds.choose(&mut self.chance).cloned().unwrap_or_default()
    }

    fn at(&mut self, input: &[u8]) -> usize {
        self.chance.random_range(0..=input.len())
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.at(input);
        match self.chance.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << self.chance.random_range(0..8),
            1 if at < input.len() => input[at] = self.chance.random(),
            2 => input.truncate(at),
            3 => {
                let upto = self.at(input);
                input.drain(at.min(upto)..at.max(upto));
            }
            4 => {
                let upto = self.at(input);
                let part = input[at.min(upto)..at.max(upto)].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let number = *EDGES.choose(&mut self.chance).unwrap_or(&0);
                let width = *[1, 4, 8].choose(&mut self.chance).unwrap_or(&1);
                let upto = input.len().min(at + width);
                input.splice(at..upto, number.to_le_bytes()[..width].to_vec());
            }
            6 => {
                let other = self.seed();
                let (from, upto) = (self.at(&other), self.at(&other));
                input.splice(at..at, other[from.min(upto)..from.max(upto)].to_vec());
            }
            _ => input.insert(at, self.chance.random()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_makes_the_same_inputs() {
        let inputs = |number| {
            let mut mutator = Mutator::new(number, vec![b"some seed".to_vec()]);
            (0..50).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }
}
