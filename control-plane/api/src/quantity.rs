//! Kubernetes quantities: exact fixed-point numbers with a suffix, such as `100m`, `1.5Gi`, `2e3`.
//!
//! A quantity is held in nano-units, so every legal value down to `1n` is exact. The canonical form keeps the
//! family of the suffix that was written (binary, decimal or exponent), as k8s.io/apimachinery
//! `pkg/api/resource` does. Values beyond i64 are clamped as upstream clamps them.

use std::{cmp::Ordering, fmt, str::FromStr};

const NANO: i128 = 1_000_000_000;
/// Upstream caps at 2^63-1 whole units.
const MAX: i128 = i64::MAX as i128 * NANO;

/// Which family of suffixes the canonical form uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `n u m k M G T P E`.
    #[default]
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`.
    Binary,
    /// `e3`, `E-3`.
    Exponent,
}

/// An exact amount of something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct Invalid;

impl Quantity {
    /// A whole number of units.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::Decimal }
    }

    /// A number of thousandths, the unit of CPU time.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANO / 1000), format: Format::Decimal }
    }

    /// A number of bytes, shown with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, format: Format::Binary }
    }

    /// Whole units, rounded up as upstream's `Value()` rounds; saturates at i64.
    pub fn units(self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }

    /// Thousandths, rounded up as upstream's `MilliValue()` rounds; saturates at i64.
    pub fn millis(self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, in the format of `self` unless `self` is zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }

    /// The difference, in the format of `self` unless `self` is zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { nanos: -other.nanos, format: other.format })
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Division away from zero.
fn div_up(value: i128, by: i128) -> i128 {
    let whole = value / by;
    if value % by == 0 { whole } else { whole + value.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// What a suffix multiplies by: a power of two, or a power of ten.
enum Scale {
    Binary(u32),
    Ten(i32),
}

fn scale(suffix: &str) -> Option<(Scale, Format)> {
    let decimal = |power| Some((Scale::Ten(power), Format::Decimal));
    let binary = |power| Some((Scale::Binary(power), Format::Binary));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let power = suffix.strip_prefix(['e', 'E'])?;
            let power: i32 = power.strip_prefix('+').unwrap_or(power).parse().ok()?;
            (-30..=30).contains(&power).then_some((Scale::Ten(power), Format::Exponent))
        }
    }
}

impl FromStr for Quantity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 64 {
            return Err(Invalid);
        }
        let (scale, format) = scale(suffix).ok_or(Invalid)?;
        let magnitude = match scale {
            Scale::Binary(bits) => binary_value(whole, fraction, bits),
            Scale::Ten(power) => decimal_value(whole, fraction, power),
        };
        let nanos = magnitude.unwrap_or(MAX).min(MAX);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// `None` when too large to hold. What is finer than a nano-unit is rounded up, as upstream does.
fn decimal_value(whole: &str, fraction: &str, power: i32) -> Option<i128> {
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let exponent = power + 9 - i32::try_from(fraction.len()).ok()?;
    if exponent >= 0 {
        return digits.parse::<i128>().ok()?.checked_mul(10i128.checked_pow(exponent.unsigned_abs())?);
    }
    let cut = exponent.unsigned_abs() as usize;
    if cut >= digits.len() {
        return Some(1);
    }
    let (kept, dropped) = digits.split_at(digits.len() - cut);
    let up = i128::from(dropped.bytes().any(|b| b != b'0'));
    Some(kept.parse::<i128>().ok()? + up)
}

fn binary_value(whole: &str, fraction: &str, bits: u32) -> Option<i128> {
    let unit = 1i128 << bits;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?.checked_mul(NANO)?;
    // Beyond 18 digits a fraction of an exbibyte is less than a byte.
    let fraction = &fraction[..fraction.len().min(18)];
    if !fraction.is_empty() {
        let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
        let part: i128 = fraction.parse().ok()?;
        nanos = nanos.checked_add(
            div_up(part.checked_mul(unit)?, scale / gcd(scale, NANO)) * (NANO / gcd(scale, NANO)),
        )?;
    }
    Some(nanos)
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let magnitude = self.nanos.abs();
        let binary = self.format == Format::Binary && magnitude % NANO == 0 && magnitude / NANO >= 1024;
        if binary {
            let mut units = magnitude / NANO;
            let mut step = 0;
            while units % 1024 == 0 && step < 6 {
                units /= 1024;
                step += 1;
            }
            return write!(f, "{sign}{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let mut number = magnitude;
        let mut power = -9;
        while number % 1000 == 0 && power < 18 {
            number /= 1000;
            power += 3;
        }
        if self.format == Format::Exponent && power != 0 {
            return write!(f, "{sign}{number}e{power}");
        }
        let index = usize::try_from((power + 9) / 3).expect("power is at least -9");
        write!(f, "{sign}{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str, units: i64, millis: i64) {
        let quantity: Quantity = text.parse().unwrap();
        assert_eq!(quantity.to_string(), canonical, "canonical form of {text}");
        assert_eq!(quantity.units(), units, "units of {text}");
        assert_eq!(quantity.millis(), millis, "millis of {text}");
    }

    #[test]
    fn canonical_form_keeps_the_family_and_is_exact() {
        check("0", "0", 0, 0);
        check("100m", "100m", 1, 100);
        check("0.1", "100m", 1, 100);
        check("1.5", "1500m", 2, 1500);
        check("1000m", "1", 1, 1000);
        check("1000", "1k", 1000, 1_000_000);
        check("128Mi", "128Mi", 134_217_728, 134_217_728_000);
        check("1024Mi", "1Gi", 1 << 30, (1 << 30) * 1000);
        check("1.5Gi", "1536Mi", 1_610_612_736, 1_610_612_736_000);
        check("0.5Ki", "512", 512, 512_000);
        check("1e3", "1e3", 1000, 1_000_000);
        check("-2", "-2", -2, -2000);
        check("12E", "9223372036854775807", i64::MAX, i64::MAX);
        check("5n", "5n", 1, 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "abc", "1.2.3", "1 Gi", "1gi", "--1", "1e", ".", "1KiB", "Mi"] {
            assert_eq!(text.parse::<Quantity>(), Err(Invalid), "{text:?}");
        }
    }

    #[test]
    fn sums_compare_exactly() {
        let a: Quantity = "250m".parse().unwrap();
        let b: Quantity = "0.75".parse().unwrap();
        assert_eq!(a.plus(b), Quantity::from_units(1));
        assert!(a < b);
        assert_eq!(b.minus(a).to_string(), "500m");
    }
}
