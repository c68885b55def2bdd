//! A network of addresses, `10.0.0.0/8`, and whether an address lies in it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::leaf::{Leaf, Literal, expected, quoted};
use super::units::serde_by_leaf;

/// A network: an address and how many of its leading bits count. A plain address is a network of one.
///
/// IPv4 addresses that come mapped into IPv6 count as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_ipv4() != self.address.is_ipv4() {
            return false;
        }
        let shift = width(self.address) - u32::from(self.bits);
        let differing = number(self.address) ^ number(address);
        differing.checked_shr(shift).unwrap_or(0) == 0
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let widest = u8::try_from(width(address)).ok()?;
        let bits = bits.map_or(Some(widest), |bits| bits.parse().ok())?;
        (bits <= widest).then_some(Self { address, bits })
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

impl Leaf for Network {
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\" or an address";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => Self::parse(text).ok_or_else(|| expected::<Self>(literal)),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

serde_by_leaf!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_its_network_only() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ] {
            let network = Network::parse(network).expect("a network");
            let address = address.parse().expect("an address");
            assert_eq!(network.contains(address), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "x"] {
            assert!(Network::read(&Literal::Text(text)).is_err(), "{text}");
        }
    }
}
