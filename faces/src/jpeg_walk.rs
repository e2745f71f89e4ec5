//! Walks the segments of a JPEG without decoding it: is it whole, is it progressive, how often does it scan?
//!
//! Needed because the decoder is lenient: of a JPEG that was cut short it paints the rest grey and reports success (seen with
//! zune-jpeg 0.5.15 as image 0.25.10 calls it). Half a face in grey must not be embedded.
//! Source: ITU-T T.81, annex B (markers, stuffed zeros, restart markers).

use crate::Refusal;

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const PROGRESSIVE: [u8; 2] = [0xc2, 0xca];

/// What the walk saw of a JPEG that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    /// All coefficients have to be kept in memory at once.
    pub(crate) progressive: bool,
    /// How many scans there are before the end of the image.
    pub(crate) scans: usize,
}

/// Walks to the end-of-image marker. What comes after it (many phones append data) is ignored.
///
/// # Errors
/// [`Refusal::Corrupt`] if there is no such marker or no scan before it.
pub(crate) fn walk(bytes: &[u8]) -> Result<Walk, Refusal> {
    let mut seen = Walk { progressive: false, scans: 0 };
    let mut at = 0;
    loop {
        let marker = next_marker(bytes, &mut at)?;
        match marker {
            END_OF_IMAGE if seen.scans > 0 => return Ok(seen),
            END_OF_IMAGE => return Err(Refusal::Corrupt),
            // these stand alone, without a length
            START_OF_IMAGE | 0x01 | 0xd0..=0xd7 => continue,
            START_OF_SCAN => seen.scans += 1,
            other => seen.progressive |= PROGRESSIVE.contains(&other),
        }
        let length = bytes.get(at..at + 2).ok_or(Refusal::Corrupt)?;
        at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
    }
}

/// Moves `at` behind the next marker and gives its code. Skips entropy-coded data, whose `ff` bytes are followed by `00`.
fn next_marker(bytes: &[u8], at: &mut usize) -> Result<u8, Refusal> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let found =
        rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff)).ok_or(Refusal::Corrupt)?;
    *at += found + 2;
    Ok(rest[found + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 4, 0xff, 0xd9]; // an APP0 whose content looks like the end
    const SCAN: &[u8] = &[0xff, 0xda, 0, 3, 1, 0x55, 0xff, 0x00, 0x12, 0xff, 0xd3, 0x44]; // stuffing and a restart
    const END: &[u8] = &[0xff, 0xd9];

    #[test]
    fn a_whole_jpeg_is_walked_to_its_end() {
        let file = [HEAD, SCAN, END, b"appended by the phone"].concat();
        assert_eq!(walk(&file), Ok(Walk { progressive: false, scans: 1 }));
    }

    #[test]
    fn scans_are_counted_and_progressive_is_seen() {
        let frame: &[u8] = &[0xff, 0xc2, 0, 3, 8];
        let file = [HEAD, frame, SCAN, SCAN, SCAN, END].concat();
        assert_eq!(walk(&file), Ok(Walk { progressive: true, scans: 3 }));
    }

    #[test]
    fn every_shorter_piece_of_it_is_corrupt() {
        let file = [HEAD, SCAN, END].concat();
        for end in 0..file.len() {
            assert_eq!(walk(&file[..end]), Err(Refusal::Corrupt), "cut at {end}");
        }
    }

    #[test]
    fn an_end_without_a_scan_is_corrupt() {
        assert_eq!(walk(&[HEAD, END].concat()), Err(Refusal::Corrupt));
    }
}
