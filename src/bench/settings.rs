//! `name=value` words, as the adapters of all systems take them.

use anyhow::Context;

pub(super) struct Settings(Vec<(String, u64)>);

impl Settings {
    pub(super) fn read(words: &[String]) -> anyhow::Result<Self> {
        let pairs = words.iter().map(|word| {
            let (name, value) = word.split_once('=').with_context(|| format!("`{word}` is not name=value"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("`{word}`: the value is not a whole number"))?))
        });
        Ok(Self(pairs.collect::<anyhow::Result<_>>()?))
    }

    pub(super) fn get(&self, name: &str, default: u64) -> u64 {
        self.0.iter().find(|(known, _)| known == name).map_or(default, |(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_name_and_a_whole_number() {
        let words = ["n=5".to_owned(), "conc=1000".to_owned()];
        let settings = Settings::read(&words).unwrap();
        assert_eq!((settings.get("n", 1), settings.get("conc", 1), settings.get("b", 7)), (5, 1000, 7));
        assert!(Settings::read(&["n".to_owned()]).is_err());
        assert!(Settings::read(&["n=many".to_owned()]).is_err());
    }
}
