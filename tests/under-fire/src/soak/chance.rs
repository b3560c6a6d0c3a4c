//! Chance that can be repeated: the same seed draws the same numbers.

use std::time::Duration;

/// A source of numbers (splitmix64).
pub struct Chance(u64);

impl Chance {
    /// The source of one of many: each `who` draws numbers of its own.
    pub fn new(seed: u64, who: u64) -> Self {
        Self(Self(seed ^ who.wrapping_mul(0x9E37_79B9_7F4A_7C15)).number())
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` - 1.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Less than `end` milliseconds.
    pub fn millis(&mut self, end: usize) -> Duration {
        Duration::from_millis(self.below(end) as u64)
    }

    /// Less than `end` bytes, any.
    pub fn bytes(&mut self, end: usize) -> Vec<u8> {
        let count = self.below(end);
        (0..count).map(|_| self.number() as u8).collect()
    }
}
