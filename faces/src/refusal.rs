//! Why a photo is not taken, said so that the person who sent it can do something about it.
//!
//! Never holds the file's name, content or a decoder's own words: those may quote the file.

use thiserror::Error;

/// A photo we do not take. `Display` is a sentence for the customer, [`Refusal::code`] is for programs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The bytes are no picture of any kind we know by its first bytes; also an empty file.
    #[error("This file is not a photo. Please send a JPEG, PNG or WebP picture.")]
    NotAPhoto,
    /// HEIC or HEIF, the format iPhones save in.
    #[error(
        "This photo is in HEIC, a format of Apple's that we cannot read. Please send it as JPEG: on the iPhone choose Settings > \
         Camera > Formats > Most Compatible for new photos, or export this one as JPEG."
    )]
    Heic,
    /// A picture, but in a format we do not read.
    #[error("This file is {format}, which we cannot read. Please send it as JPEG, PNG or WebP.")]
    Unsupported {
        /// The format's name, for example "GIF"; one of ours, never text from the file.
        format: &'static str,
    },
    /// The file begins like a picture, but is cut short or damaged.
    #[error("This photo is damaged or was cut short on the way. Please send it again, or choose another one.")]
    Corrupt,
    /// The file has more bytes than [`crate::Limits::max_bytes`].
    #[error("This photo is {} MB, and the most we take is {} MB. Please send a smaller copy.", megabytes(*bytes), megabytes(*most))]
    TooManyBytes {
        /// Size of the file, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        most: usize,
    },
    /// The picture is larger than [`crate::Limits`] allow for its format, or would take too much memory.
    #[error(
        "This photo has too many pixels; the most we take is {most_megapixels} megapixels and {most_side} pixels on a side. Please send a smaller copy."
    )]
    TooManyPixels {
        /// The limit for this format, in millions of pixels.
        most_megapixels: u64,
        /// The limit for the longer side, in pixels.
        most_side: u32,
    },
}

impl Refusal {
    /// The stable name of this refusal, for an API's error body or a row.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NotAPhoto => "photo_not_a_photo",
            Refusal::Heic => "photo_heic",
            Refusal::Unsupported { .. } => "photo_unsupported",
            Refusal::Corrupt => "photo_corrupt",
            Refusal::TooManyBytes { .. } => "photo_too_large",
            Refusal::TooManyPixels { .. } => "photo_too_many_pixels",
        }
    }
}

/// Whole megabytes, rounded up: "31 MB, and the most is 30 MB" and never "30 MB, and the most is 30 MB".
fn megabytes(bytes: usize) -> usize {
    bytes.div_ceil(1024 * 1024)
}
