//! What a file is, by its first bytes. The name it came with and the type a browser claimed count for nothing.
//!
//! HEIC is recognised by the brands in its `ftyp` box (ISO/IEC 14496-12 section 4.3, ISO/IEC 23008-12 annex B).

use image::ImageFormat;

use crate::Refusal;

/// The three formats we decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Jpeg,
    Png,
    WebP,
}

impl Kind {
    pub(crate) fn format(self) -> ImageFormat {
        match self {
            Kind::Jpeg => ImageFormat::Jpeg,
            Kind::Png => ImageFormat::Png,
            Kind::WebP => ImageFormat::WebP,
        }
    }
}

/// Names a file, or refuses it by name.
pub(crate) fn kind_of(bytes: &[u8]) -> Result<Kind, Refusal> {
    if let Some(refusal) = iso_media(bytes) {
        return Err(refusal);
    }
    let unsupported = |format| Err(Refusal::Unsupported { format });
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => Ok(Kind::Jpeg),
        Ok(ImageFormat::Png) => Ok(Kind::Png),
        Ok(ImageFormat::WebP) => Ok(Kind::WebP),
        Ok(ImageFormat::Gif) => unsupported("GIF"),
        Ok(ImageFormat::Tiff) => unsupported("TIFF"),
        Ok(ImageFormat::Bmp) => unsupported("BMP"),
        Ok(ImageFormat::Ico) => unsupported("an icon (ICO)"),
        Ok(_) => unsupported("in an unusual format"),
        Err(_) if bytes.starts_with(b"%PDF-") => unsupported("a PDF document"),
        Err(_) => Err(Refusal::NotAPhoto),
    }
}

/// HEIC, AVIF and films share one container: a first box `ftyp` that lists brands of four letters.
fn iso_media(bytes: &[u8]) -> Option<Refusal> {
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let brands = || bytes.get(8..length.min(bytes.len())).unwrap_or_default().chunks_exact(4);
    let any = |known: &[&[u8; 4]]| brands().any(|brand| known.iter().any(|k| k.as_slice() == brand));
    if any(&[b"avif", b"avis"]) {
        Some(Refusal::Unsupported { format: "AVIF" })
    } else if any(&[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"]) {
        Some(Refusal::Heic)
    } else {
        Some(Refusal::Unsupported { format: "a film" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ftyp(brands: &[&[u8; 4]]) -> Vec<u8> {
        let mut file = (8 + 4 * brands.len() as u32).to_be_bytes().to_vec();
        file.extend(b"ftyp");
        file.extend(brands.iter().flat_map(|brand| brand.iter()));
        file.extend([0; 64]);
        file
    }

    #[test]
    fn an_iphone_photo_is_named_heic() {
        for brands in
            [[b"heic", b"\0\0\0\0", b"mif1"], [b"mif1", b"\0\0\0\0", b"heic"], [b"heix", b"\0\0\0\0", b"heix"]]
        {
            assert_eq!(kind_of(&ftyp(&brands)), Err(Refusal::Heic), "{brands:?}");
        }
    }

    #[test]
    fn avif_and_films_are_not_called_heic() {
        assert_eq!(kind_of(&ftyp(&[b"avif", b"\0\0\0\0", b"mif1"])), Err(Refusal::Unsupported { format: "AVIF" }));
        assert_eq!(kind_of(&ftyp(&[b"isom", b"\0\0\0\0", b"mp42"])).map_err(|r| r.code()), Err("photo_unsupported"));
    }

    #[test]
    fn a_brand_outside_the_ftyp_box_does_not_count() {
        let mut film = ftyp(&[b"isom", b"\0\0\0\0"]);
        film.extend(b"heicheicheic");
        assert_eq!(kind_of(&film).map_err(|r| r.code()), Err("photo_unsupported"));
    }

    #[test]
    fn every_prefix_of_a_header_is_answered() {
        let file = ftyp(&[b"heic"]);
        for end in 0..file.len() {
            assert!(kind_of(&file[..end]).is_err());
        }
    }

    #[test]
    fn gif_and_pdf_are_named() {
        assert_eq!(kind_of(b"GIF89a......"), Err(Refusal::Unsupported { format: "GIF" }));
        assert_eq!(kind_of(b"%PDF-1.7...."), Err(Refusal::Unsupported { format: "a PDF document" }));
        assert_eq!(kind_of(b""), Err(Refusal::NotAPhoto));
    }
}
