//! Where an id stands in the rollout of a flag. PostHog's SDKs compute the same numbers.

use sha1::{Digest, Sha1};

/// The largest number of 60 bits, as the double that SDKs divide by.
const SCALE: f64 = 0xfff_ffff_ffff_ffff_u64 as f64;

/// Where an id stands in the release of a flag, from 0 to 1.
pub(super) fn rollout(key: &str, id: &str) -> f64 {
    fraction(&[key, ".", id])
}

/// Where an id stands in the release of a flag that has a salt.
pub(super) fn salted_rollout(key: &str, id: &str, salt: &str) -> f64 {
    fraction(&[key, ".", id, salt])
}

/// Where an id stands among the variants of a flag, from 0 to 1: independent of the rollout, so that
/// growing that moves nobody to another variant.
pub(super) fn variant(key: &str, id: &str) -> f64 {
    fraction(&[key, ".", id, "variant"])
}

/// Where an id stands in all holdouts, from 0 to 1.
pub(super) fn holdout(id: &str) -> f64 {
    fraction(&["holdout-", id])
}

/// The bucket of an id by the seed's rule, from 0 to 99, for rollout and variants alike.
pub(super) fn seed_bucket(salt: &str, id: &str) -> u64 {
    leading_bits(&[salt, ":", id]) % 100
}

/// The first 15 hexadecimal digits of the digest.
fn fraction(parts: &[&str]) -> f64 {
    (leading_bits(parts) >> 4) as f64 / SCALE
}

fn leading_bits(parts: &[&str]) -> u64 {
    let mut hasher = Sha1::new();
    for part in parts {
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a SHA-1 digest has 20 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_sdks() {
        assert_eq!(rollout("rollout", "user-1"), 0.9021559633337509);
        assert_eq!(variant("multi", "user-1"), 0.3373287381849952);
        assert_eq!(rollout("beta", "user_1"), 0.47712944164003707);
        assert_eq!(variant("beta", "user_1"), 0.2924959163758994);
        assert_eq!(rollout("simple-flag", "distinct_id_0"), 0.7836963764220432);
        assert_eq!(holdout("user-1"), 0.17805599206573022);
    }

    #[test]
    fn seed_buckets_are_those_of_the_seed() {
        assert_eq!(seed_bucket("beta", "user_1"), 76);
        assert_eq!(seed_bucket("beta", "user_2"), 52);
        assert_eq!(seed_bucket("pro-flag-salt", "user_1"), 55);
    }
}
