//! What the real models make of the real photo.

use std::thread;

use image::imageops::{self, FilterType};
use safelight_faces::{Limits, NoVerdict, cosine, decode, odd_ones_out, score};

use crate::studio::{ENGINE, astronaut, embedded, jpeg, likeness, pixels, sent, side_by_side, turned, webp};

#[test]
fn the_astronaut_has_one_face_where_it_is() {
    let photo = sent(&astronaut());
    let seen = ENGINE.faces(&photo).unwrap();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].score > 0.85);

    let face = ENGINE.the_face(&photo).unwrap();
    let found = face.bounds();
    for (is, should) in [(found.x, 178.0), (found.y, 62.0), (found.width, 90.0), (found.height, 113.0)] {
        assert!((is - should).abs() < 8.0_f32, "{found:?}");
    }
    assert!(face.score() > 0.85 && face.roll_degrees().abs() < 10.0, "{face:?}");
    let [left_eye, right_eye, nose, mouth_left, mouth_right] = face.landmarks();
    assert!(left_eye.x < nose.x && nose.x < right_eye.x && mouth_left.x < mouth_right.x);
    assert!(left_eye.y < nose.y && nose.y < mouth_left.y);
}

#[test]
fn the_same_photo_gives_the_same_embedding_on_every_thread() {
    let photo = sent(&astronaut());
    let here = embedded(&photo);
    assert_eq!((here.dimensions(), here.to_bytes().len()), (128, 512));
    assert_eq!(here.model_sha256(), ENGINE.model().sha256);
    thread::scope(|scope| {
        for there in [scope.spawn(|| embedded(&photo)), scope.spawn(|| embedded(&photo))] {
            assert_eq!(there.join().unwrap(), here);
        }
    });
}

#[test]
fn the_face_stays_itself_through_what_happens_to_photos() {
    let picture = astronaut();
    let straight = embedded(&sent(&picture));
    let file = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap();
    let variants = [
        ("mirrored", sent(&imageops::flip_horizontal(&picture))),
        ("brighter", sent(&imageops::brighten(&picture, 60))),
        ("darker", sent(&imageops::brighten(&picture, -60))),
        ("four times as large", sent(&imageops::resize(&picture, 2048, 2048, FilterType::CatmullRom))),
        ("two thirds as large", sent(&imageops::resize(&picture, 341, 341, FilterType::CatmullRom))),
        ("cropped to the head", sent(&imageops::crop_imm(&picture, 150, 20, 150, 180).to_image())),
        ("cropped to the face", sent(&imageops::crop_imm(&picture, 178, 62, 90, 113).to_image())),
        ("a poor JPEG", file(&jpeg(&picture, 20, None))),
        ("a WebP", file(&webp(&picture, None))),
        ("slightly blurred", sent(&imageops::blur(&picture, 1.0))),
    ];
    for (name, photo) in variants {
        let alike = cosine(&straight, &embedded(&photo)).unwrap();
        println!("{name}: {alike:.3}");
        assert!(alike > 0.85, "{name}: {alike}");
    }
}

#[test]
fn the_face_stays_itself_however_the_photo_is_turned() {
    let picture = astronaut();
    let straight = embedded(&sent(&picture));
    for degrees in [-150, -90, -60, -40, -30, -15, 15, 30, 40, 60, 90, 135, 180] {
        let photo = sent(&turned(&picture, degrees as f32));
        let face = ENGINE.the_face(&photo).unwrap();
        let alike = cosine(&straight, &ENGINE.embed(&photo, &face).unwrap()).unwrap();
        println!("turned by {degrees}: {alike:.3}, seen at {:.1}", face.roll_degrees());
        assert!(alike > 0.9, "turned by {degrees}: {alike}");
    }
}

/// A photo whose file says "turn me" is the photo it would be if it had been turned.
#[test]
fn a_sideways_file_with_an_exif_tag_is_an_upright_photo() {
    let picture = astronaut();
    let sideways = jpeg(&imageops::rotate270(&picture), 90, Some(6));
    let photo = decode(&sideways, &Limits::default()).unwrap();
    let face = ENGINE.the_face(&photo).unwrap();
    assert!((face.bounds().x - 178.0).abs() < 8.0 && face.roll_degrees().abs() < 10.0, "{face:?}");
    assert!(likeness(&photo, &sent(&picture)) > 0.9);
}

#[test]
fn a_photo_without_a_face_is_a_verdict_and_no_number() {
    let suit = imageops::crop_imm(&astronaut(), 300, 200, 200, 300).to_image();
    let refused = ENGINE.the_face(&sent(&suit)).unwrap_err();
    assert_eq!((&refused, refused.code()), (&NoVerdict::NoFace, "no_face"));
    assert_eq!(ENGINE.the_face(&sent(&image::RgbImage::new(1, 1))), Err(NoVerdict::NoFace));
    assert_eq!(ENGINE.the_face(&sent(&image::RgbImage::new(9000, 1))), Err(NoVerdict::NoFace));
}

#[test]
fn two_people_are_refused_and_a_passer_by_is_not() {
    let picture = astronaut();
    let both = sent(&side_by_side(&picture, &imageops::flip_horizontal(&picture)));
    let refused = ENGINE.the_face(&both).unwrap_err();
    assert_eq!((&refused, refused.code()), (&NoVerdict::SeveralFaces(2), "several_faces"));

    let smaller = |side| imageops::resize(&picture, side, side, FilterType::Triangle);
    assert_eq!(ENGINE.the_face(&sent(&side_by_side(&picture, &smaller(290)))), Err(NoVerdict::SeveralFaces(2)));

    let passer_by = sent(&side_by_side(&picture, &smaller(200)));
    assert_eq!(ENGINE.faces(&passer_by).unwrap().len(), 2);
    assert!(likeness(&passer_by, &sent(&picture)) > 0.9);
}

#[test]
fn a_face_of_thirty_pixels_is_too_small() {
    let small = imageops::resize(&astronaut(), 180, 180, FilterType::Triangle);
    let refused = ENGINE.the_face(&sent(&small)).unwrap_err();
    assert_eq!((&refused, refused.code()), (&NoVerdict::TooSmall, "face_too_small"));
}

#[test]
fn an_image_is_scored_against_the_selfies() {
    let picture = astronaut();
    let selfies: Vec<_> = [
        imageops::flip_horizontal(&picture),
        imageops::brighten(&picture, 40),
        turned(&picture, 20.0),
        imageops::crop_imm(&picture, 100, 0, 250, 300).to_image(),
    ]
    .iter()
    .map(|selfie| embedded(&sent(selfie)))
    .collect();
    let scored = score(&embedded(&sent(&picture)), &selfies).unwrap();
    assert_eq!(scored.compared, 4);
    assert!(scored.best >= scored.mean_best3 && scored.mean_best3 > 0.9, "{scored:?}");
    assert!(odd_ones_out(&selfies).unwrap().is_empty());
}

#[test]
fn a_photo_and_an_embedding_do_not_print_themselves() {
    let photo = sent(&astronaut());
    assert_eq!(format!("{photo:?}"), "Photo(512x512)");
    assert_eq!(format!("{:?}", embedded(&photo)), "Embedding(128 numbers of model fb143eea0783)");
    assert_eq!(pixels(&photo).dimensions(), (512, 512));
}
