/// How often a message is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// Once or never.
    #[default]
    AtMostOnce = 0,
    /// Once or more.
    AtLeastOnce = 1,
    /// Once.
    ExactlyOnce = 2,
}

impl Qos {
    /// The QoS of this number; there is none above 2.
    #[inline]
    pub const fn from_u8(qos: u8) -> Option<Self> {
        match qos {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}
