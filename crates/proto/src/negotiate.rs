//! Which version two sides speak, and which optional abilities they may use: [`VersionRange`], [`Capabilities`].

use std::fmt;

/// The version of the protocol this code is written for.
pub const PROTOCOL_VERSION: u16 = 1;

/// Versions a side speaks: all from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    min: u16,
    max: u16,
}

impl VersionRange {
    /// What this code speaks.
    pub const CURRENT: Self = Self { min: PROTOCOL_VERSION, max: PROTOCOL_VERSION };

    /// `None` when the lowest is above the highest.
    #[must_use]
    pub const fn new(min: u16, max: u16) -> Option<Self> {
        if min <= max { Some(Self { min, max }) } else { None }
    }

    /// The lowest version.
    #[must_use]
    pub const fn min(self) -> u16 {
        self.min
    }

    /// The highest version.
    #[must_use]
    pub const fn max(self) -> u16 {
        self.max
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub const fn contains(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The highest version both ranges contain.
    ///
    /// ```
    /// use proto::VersionRange;
    ///
    /// let client = VersionRange::new(1, 3).unwrap();
    /// assert_eq!(client.highest_common(VersionRange::new(2, 9).unwrap()), Some(3));
    /// assert_eq!(client.highest_common(VersionRange::new(4, 9).unwrap()), None);
    /// ```
    #[must_use]
    pub fn highest_common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{} to {}", self.min, self.max) }
    }
}

/// Abilities beyond the version, one bit each. A side names all it has, and uses those that both named.
///
/// Unknown bits are kept and mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// A server that takes `Progress`.
    pub const PROGRESS: Self = Self(1);
    /// No ability.
    pub const NONE: Self = Self(0);

    /// Takes the bits as they are.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The abilities both have.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `wanted` are among these.
    #[must_use]
    pub const fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// What two sides have agreed upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The version spoken.
    pub version: u16,
    /// The abilities both have.
    pub capabilities: Capabilities,
}
