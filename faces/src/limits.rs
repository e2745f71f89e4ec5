//! How much of a stranger's photo we are willing to take in.
//!
//! A photo is checked against these before its pixels are allocated: a picture of 0.3 MB can claim to be 121 megapixels.

/// The most a photo may be. Every limit is inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Size of the file, in bytes.
    pub max_bytes: usize,
    /// Width times height, for PNG and ordinary (baseline) JPEG.
    pub max_pixels: u64,
    /// Width times height, for WebP and progressive JPEG. Lower, because both cost several times the memory and time: a
    /// progressive JPEG keeps all its coefficients (6 bytes a pixel) beside the picture and walks them once a scan.
    pub max_pixels_costly: u64,
    /// The longer side, in pixels.
    pub max_side: u32,
    /// How often a JPEG may go over the picture again (scans). Cameras and editors stay near 10.
    pub max_jpeg_scans: usize,
}

impl Default for Limits {
    /// Room for a 50-megapixel phone (8160x6144 is 50.1 million pixels); at most about 0.5 GB while decoding.
    fn default() -> Limits {
        Limits {
            max_bytes: 30 * 1024 * 1024,
            max_pixels: 52_000_000,
            max_pixels_costly: 30_000_000,
            max_side: 16_000,
            max_jpeg_scans: 64,
        }
    }
}

impl Limits {
    /// The most bytes decoded pixels may take: four a pixel, so a 16-bit picture gets half the pixels of an 8-bit one.
    pub(crate) fn max_decoded(&self) -> u64 {
        self.max_pixels.saturating_mul(4)
    }
}
