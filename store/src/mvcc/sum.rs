//! The CRC-32C of two pieces, one after the other, by the sums of both.
//!
//! A sum is a polynomial over GF(2) modulo that of the code, and so many bytes behind it multiply it by so many powers of x. The crate that computes sums can do
//! this as well, with matrices that it makes anew for each call: several microseconds, and the whole state is hashed so.

/// The polynomial; bit 31 is that of x^0, as in sums.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;
/// x^8: what one byte behind it makes of a sum.
const BYTE: u32 = ONE >> 8;

/// What 1, 2, 4, 8... bytes behind it make of a sum.
const SHIFTS: [u32; usize::BITS as usize] = {
    let mut shifts = [BYTE; usize::BITS as usize];
    let mut power = 1;
    while power < shifts.len() {
        shifts[power] = times(shifts[power - 1], shifts[power - 1]);
        power += 1;
    }
    shifts
};

/// The product of two polynomials.
const fn times(left: u32, mut right: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit > 0 {
        if left & bit != 0 {
            product ^= right;
        }
        right = (right >> 1) ^ if right & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    product
}

/// The sum of two pieces, given that of each and the length of the second.
pub(super) fn of_both(first: u32, second: u32, second_bytes: usize) -> u32 {
    let mut shifted = first;
    let mut bytes = second_bytes;
    while bytes > 0 {
        shifted = times(SHIFTS[bytes.trailing_zeros() as usize], shifted);
        bytes &= bytes - 1;
    }
    shifted ^ second
}

#[cfg(test)]
mod tests {
    use crc32c::{crc32c, crc32c_append, crc32c_combine};

    use super::*;

    #[test]
    fn the_sum_of_both_is_that_of_what_they_are_together() {
        let bytes: Vec<u8> =
            (0..70_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in [0, 1, 2, 3, 31, 32, 33, 512, 1024, 1057, 65_535, 69_000] {
            let (first, second) = (&bytes[..777], &bytes[777..][..length]);
            let both = of_both(crc32c(first), crc32c(second), length);
            assert_eq!(both, crc32c_append(crc32c(first), second), "{length}");
        }
        for length in [1 << 30, u32::MAX as usize, 10 << 20] {
            assert_eq!(of_both(17, 18, length), crc32c_combine(17, 18, length), "{length}");
        }
        assert_eq!(of_both(0, 18, 5), 18);
    }
}
