//! Which files are refused, as what, and that no file is a surprise.

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, Rgb, RgbImage, imageops};
use safelight_faces::{Limits, Refusal, decode};

use crate::studio::{astronaut, astronaut_file, jpeg, pixels, png, webp};

fn refused(bytes: &[u8], limits: &Limits) -> Refusal {
    decode(bytes, limits).map(|photo| format!("{photo:?}")).unwrap_err()
}

fn refused_by_default(bytes: &[u8]) -> Refusal {
    refused(bytes, &Limits::default())
}

fn small() -> RgbImage {
    RgbImage::from_fn(40, 30, |x, y| Rgb([(6 * x) as u8, (8 * y) as u8, (x * y) as u8]))
}

#[test]
fn a_text_that_calls_itself_a_jpg_is_not_a_photo() {
    for text in ["", "beach.jpg", "<html>not a photo</html>", "\u{feff}dear sir or madam"] {
        let refusal = refused_by_default(text.as_bytes());
        assert_eq!((&refusal, refusal.code()), (&Refusal::NotAPhoto, "photo_not_a_photo"), "{text}");
    }
}

#[test]
fn an_iphone_photo_is_named_and_the_way_out_is_told() {
    let header = [&[0, 0, 0, 24][..], b"ftypheic\0\0\0\0mif1heic", &[0; 100]].concat();
    let refusal = refused_by_default(&header);
    assert_eq!((&refusal, refusal.code()), (&Refusal::Heic, "photo_heic"));
    let said = refusal.to_string();
    assert!(said.contains("HEIC") && said.contains("JPEG"), "{said}");
}

#[test]
fn a_gif_is_named() {
    let refusal = refused_by_default(b"GIF89a\x01\0\x01\0\0\0\0;");
    assert_eq!(refusal.code(), "photo_unsupported");
    assert!(refusal.to_string().contains("GIF"));
}

/// The decoder itself would paint the missing part of a JPEG grey and call it a success.
#[test]
fn a_file_that_was_cut_short_is_corrupt() {
    let picture = astronaut();
    for whole in [jpeg(&picture, 80, None), astronaut_file(), webp(&picture, None)] {
        for hundredth in [1, 10, 50, 90, 99] {
            let refusal = refused_by_default(&whole[..whole.len() * hundredth / 100]);
            assert_eq!(
                (&refusal, refusal.code()),
                (&Refusal::Corrupt, "photo_corrupt"),
                "{hundredth} % of {}",
                whole.len()
            );
        }
    }
    let whole = jpeg(&picture, 80, None);
    assert_eq!(refused_by_default(&whole[..whole.len() - 1]), Refusal::Corrupt);
}

#[test]
fn a_file_of_too_many_bytes_is_not_looked_at() {
    let file = png(&small(), None);
    let exactly = Limits { max_bytes: file.len(), ..Limits::default() };
    assert!(decode(&file, &exactly).is_ok());
    let refusal = refused(&file, &Limits { max_bytes: file.len() - 1, ..Limits::default() });
    assert_eq!(refusal.code(), "photo_too_large");
}

/// 121 million pixels in a few bytes. Were the pixels touched before the refusal, these files would be corrupt.
#[test]
fn a_bomb_is_refused_by_its_header() {
    for bomb in [png_header(11_000, 11_000), jpeg_of(11_000, 11_000), webp_of(11_000, 11_000)] {
        let refusal = refused_by_default(&bomb);
        assert_eq!(refusal.code(), "photo_too_many_pixels", "{refusal:?}");
    }
    assert_eq!(refused_by_default(&png_header(100, 100)), Refusal::Corrupt);
}

#[test]
fn a_real_bomb_is_refused_too() {
    let mut file = Vec::new();
    let black = vec![0; 11_000 * 11_000];
    PngEncoder::new(&mut file).write_image(&black, 11_000, 11_000, ExtendedColorType::L8).unwrap();
    assert!(file.len() < Limits::default().max_bytes, "{} bytes", file.len());
    assert_eq!(refused_by_default(&file).code(), "photo_too_many_pixels");
}

#[test]
fn every_limit_on_pixels_holds_to_the_pixel() {
    let picture = small();
    let most = |max_pixels, max_pixels_costly, max_side| Limits {
        max_pixels,
        max_pixels_costly,
        max_side,
        ..Limits::default()
    };
    let exactly = most(1200, 1200, 40);
    let cheap = [png(&picture, None), jpeg(&picture, 90, None)];
    let costly = [webp(&picture, None), progressive(&picture)];
    for file in cheap.iter().chain(&costly[..1]) {
        assert!(decode(file, &exactly).is_ok());
        assert_eq!(refused(file, &most(1200, 1200, 39)).code(), "photo_too_many_pixels");
    }
    for file in &cheap {
        assert!(decode(file, &most(1200, 0, 40)).is_ok());
        assert_eq!(refused(file, &most(1199, 1200, 40)).code(), "photo_too_many_pixels");
    }
    for file in &costly {
        assert_eq!(refused(file, &most(1200, 1199, 40)).code(), "photo_too_many_pixels");
    }
}

#[test]
fn deep_pixels_count_for_their_memory() {
    let deep = DynamicImage::ImageRgb8(small()).into_rgba16();
    let mut file = std::io::Cursor::new(Vec::new());
    deep.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let limits = |max_pixels| Limits { max_pixels, ..Limits::default() };
    assert_eq!(refused(file.get_ref(), &limits(1200)).code(), "photo_too_many_pixels");
    assert_eq!(pixels(&decode(file.get_ref(), &limits(2400)).unwrap()), small());
}

#[test]
fn a_jpeg_with_endless_scans_is_refused() {
    let whole = jpeg(&small(), 90, None);
    assert!(decode(&whole, &Limits { max_jpeg_scans: 1, ..Limits::default() }).is_ok());
    assert_eq!(refused(&whole, &Limits { max_jpeg_scans: 0, ..Limits::default() }).code(), "photo_unsupported");
}

#[test]
fn every_exif_orientation_is_undone() {
    let upright = small();
    // how a camera held that way stores the picture: what undoes the tag, done backwards
    let stored: [(u8, RgbImage); 8] = [
        (1, upright.clone()),
        (2, imageops::flip_horizontal(&upright)),
        (3, imageops::rotate180(&upright)),
        (4, imageops::flip_vertical(&upright)),
        (5, imageops::rotate270(&imageops::flip_horizontal(&upright))),
        (6, imageops::rotate270(&upright)),
        (7, imageops::rotate90(&imageops::flip_horizontal(&upright))),
        (8, imageops::rotate90(&upright)),
    ];
    for (tag, picture) in stored {
        for file in [png(&picture, Some(tag)), webp(&picture, Some(tag))] {
            assert_eq!(pixels(&decode(&file, &Limits::default()).unwrap()), upright, "orientation {tag}");
        }
        let photo = decode(&jpeg(&picture, 95, Some(tag)), &Limits::default()).unwrap();
        assert_eq!((photo.width(), photo.height()), upright.dimensions(), "orientation {tag}");
    }
}

/// Bytes changed at random places (by a fixed rule): a photo or a refusal, never a panic.
#[test]
fn damaged_files_are_answered() {
    for whole in [png(&small(), Some(6)), jpeg(&small(), 80, Some(6)), webp(&small(), Some(6))] {
        let mut place = 12345_usize;
        for round in 0..400_usize {
            let mut file = whole.clone();
            for _ in 0..=round % 4 {
                place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (place >> 33) % file.len();
                file[at] = (place >> 20) as u8;
            }
            let limits = Limits { max_pixels: 1_000_000, max_pixels_costly: 1_000_000, ..Limits::default() };
            let _ = decode(&file, &limits);
        }
    }
}

/// A PNG that ends after its header and an empty data chunk.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = png(&small(), None);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&sum.to_be_bytes());
    file
}

fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
    let mut file = jpeg(&small(), 80, None);
    let frame = frame(&file);
    file[frame + 5..][..2].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..][..2].copy_from_slice(&width.to_be_bytes());
    file
}

/// A JPEG whose header says it is progressive.
fn progressive(picture: &RgbImage) -> Vec<u8> {
    let mut file = jpeg(picture, 80, None);
    let frame = frame(&file);
    file[frame + 1] = 0xc2;
    file
}

/// Where the frame's header begins.
fn frame(jpeg: &[u8]) -> usize {
    jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap()
}

/// A lossless WebP: after the signature byte, 14 bits of width and of height, each less one.
fn webp_of(width: u32, height: u32) -> Vec<u8> {
    let mut file = webp(&small(), None);
    let signature = file.windows(4).position(|four| four == b"VP8L").unwrap() + 8;
    assert_eq!(file[signature], 0x2f);
    let old = u32::from_le_bytes(file[signature + 1..][..4].try_into().unwrap());
    let new = (old & !0x0fff_ffff) | (width - 1) | ((height - 1) << 14);
    file[signature + 1..][..4].copy_from_slice(&new.to_le_bytes());
    file
}

/// The checksum of a PNG chunk (CRC-32, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
