//! [`Picture::of`]: a small picture of a picture, made by us from whatever somebody stored; [`Thumbnails`] keeps the last ones.
//!
//! The bytes may be anybody's: what a header says is compared with limits before anything is made of it, one picture is
//! decoded at a time, and what is given out is encoded anew, so that nothing of the file but its pixels gets to a browser.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use object::{ObjectId, VaultId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest side of a thumbnail, in pixels.
pub(crate) const SIDE: u32 = 160;
/// Longest file that is decoded.
pub(crate) const FILE_LEN_MAX: u64 = 8 << 20;
/// Most bytes of pixels: some 12 million of three bytes each.
const PIXELS_LEN_MAX: u64 = 36 << 20;
const SIDE_MAX: u32 = 20_000;
const QUALITY: u8 = 80;
/// What is kept, in bytes; a picture that cannot be made takes the least.
const KEPT_LEN_MAX: usize = 16 << 20;
const KEPT_LEN_LEAST: usize = 1 << 10;

/// A small picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Bytes,
}

/// Why there is no small picture of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PictureError {
    /// It would take more memory than a thumbnail is worth.
    #[error("the picture is too large to be made small here")]
    TooLarge,
    /// It is no picture, or a broken one.
    #[error("the file is no picture that can be decoded")]
    Broken(#[source] ImageError),
}

impl From<ImageError> for PictureError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => Self::TooLarge,
            error => Self::Broken(error),
        }
    }
}

impl Picture {
    /// Decodes a file of this format and makes it small, upright as the camera was held.
    ///
    /// Takes at most some 125 MiB: the file twice, its pixels, and what its decoder keeps besides, which for progressive JPEGs
    /// is twice the pixels.
    ///
    /// # Errors
    /// [`PictureError`], whatever the bytes are.
    pub(crate) fn of(file: &[u8], format: ImageFormat) -> Result<Self, PictureError> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_MAX);
        limits.max_image_height = Some(SIDE_MAX);
        limits.max_alloc = Some(PIXELS_LEN_MAX);
        let mut reader = ImageReader::with_format(Cursor::new(file), format);
        reader.limits(limits);
        let mut decoder = reader.into_decoder()?;
        if decoder.total_bytes() > PIXELS_LEN_MAX {
            return Err(PictureError::TooLarge);
        }
        let orientation = decoder.orientation()?;
        let whole = DynamicImage::from_decoder(decoder)?;
        let mut small = if whole.width().max(whole.height()) > SIDE { whole.thumbnail(SIDE, SIDE) } else { whole };
        small.apply_orientation(orientation);
        let mut bytes = Vec::new();
        let media_type = if small.color().has_alpha() {
            small.to_rgba8().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
            "image/png"
        } else {
            small.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
            "image/jpeg"
        };
        Ok(Self { media_type, bytes: bytes.into() })
    }
}

/// The content of a file of a vault.
pub(crate) type Key = (VaultId, ObjectId);

/// The pictures that were asked for last, and whose turn it is to make one.
#[derive(Debug)]
pub(crate) struct Thumbnails {
    turn: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// With the time of their last use, as it is counted here; `None`: there is none to be made.
    pictures: HashMap<Key, (Option<Arc<Picture>>, u64)>,
    len: usize,
    now: u64,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), kept: Mutex::default() }
    }
}

impl Thumbnails {
    /// Waits for one's turn to decode, which goes along to wherever that is done: who asked may be gone before it ends.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.turn).acquire_owned().await.expect("nobody closes it")
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known: a picture, or that there is none; `None`: nothing.
    pub(crate) fn find(&self, key: &Key) -> Option<Option<Arc<Picture>>> {
        let kept = &mut *self.lock();
        kept.now += 1;
        let (picture, used) = kept.pictures.get_mut(key)?;
        *used = kept.now;
        Some(picture.clone())
    }

    /// Keeps what became of a file; what was not asked for the longest goes.
    pub(crate) fn keep(&self, key: Key, picture: Option<Arc<Picture>>) {
        let kept = &mut *self.lock();
        kept.now += 1;
        kept.len += len_of(picture.as_ref());
        if let Some((before, _)) = kept.pictures.insert(key, (picture, kept.now)) {
            kept.len -= len_of(before.as_ref());
        }
        while kept.len > KEPT_LEN_MAX
            && let Some(oldest) = kept.pictures.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            let gone = kept.pictures.remove(&oldest);
            kept.len -= gone.map_or(0, |(picture, _)| len_of(picture.as_ref()));
        }
    }
}

fn len_of(picture: Option<&Arc<Picture>>) -> usize {
    picture.map_or(0, |picture| picture.bytes.len()).max(KEPT_LEN_LEAST)
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::codecs::png::PngEncoder;
    use image::codecs::webp::WebPEncoder;
    use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP];

    /// A picture that gets redder to the right and greener to the bottom.
    fn drawn(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let shade = |at: u32, of: u32| u8::try_from(at * 255 / of).unwrap();
            Rgb([shade(x, width), shade(y, height), 0])
        })
    }

    fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let picture = drawn(width, height);
        let mut file = Vec::new();
        match format {
            ImageFormat::Gif => {
                GifEncoder::new(&mut file).encode(&picture, width, height, ExtendedColorType::Rgb8).unwrap();
            }
            ImageFormat::WebP => {
                let encoder = WebPEncoder::new_lossless(&mut file);
                encoder.write_image(&picture, width, height, ExtendedColorType::Rgb8).unwrap();
            }
            format => picture.write_to(&mut Cursor::new(&mut file), format).unwrap(),
        }
        file
    }

    fn shown(picture: &Picture) -> DynamicImage {
        image::load_from_memory(&picture.bytes).unwrap()
    }

    #[test]
    fn pictures_get_small_and_stay_what_they_show() {
        for format in FORMATS {
            let small = Picture::of(&encoded(format, 640, 320), format).unwrap();
            let seen = shown(&small).to_rgb8();
            assert_eq!(seen.dimensions(), (SIDE, SIDE / 2), "{format:?}");
            assert!(small.bytes.len() < 16 << 10, "{format:?}: {} bytes", small.bytes.len());
            let [left, right] = [1, SIDE - 2].map(|x| seen.get_pixel(x, SIDE / 4)[0]);
            assert!(left < 40 && right > 215, "{format:?}: {left} {right}");
            // What is small stays as it is.
            assert_eq!(shown(&Picture::of(&encoded(format, 20, 10), format).unwrap()).width(), 20);
        }
        let mut file = Vec::new();
        let glass = RgbaImage::from_pixel(400, 400, Rgba([1, 2, 3, 100]));
        glass.write_to(&mut Cursor::new(&mut file), ImageFormat::Png).unwrap();
        let small = Picture::of(&file, ImageFormat::Png).unwrap();
        assert_eq!((small.media_type, shown(&small).to_rgba8().get_pixel(5, 5)[3]), ("image/png", 100));
    }

    /// A PNG whose header says another size than its pixels have.
    fn lying_png(width: u32, height: u32) -> Vec<u8> {
        let mut file = encoded(ImageFormat::Png, 8, 8);
        file[16..20].copy_from_slice(&width.to_be_bytes());
        file[20..24].copy_from_slice(&height.to_be_bytes());
        let sum = crc32(&file[12..29]);
        file[29..33].copy_from_slice(&sum.to_be_bytes());
        file
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
        })
    }

    #[test]
    fn bombs_and_lies_are_refused() {
        let refused = |file: &[u8], format| Picture::of(file, format).unwrap_err();
        // What it says is too much.
        for (width, height) in [(100_000, 1), (1, 100_000), (19_999, 19_999), (u32::MAX >> 1, u32::MAX >> 1)] {
            let error = refused(&lying_png(width, height), ImageFormat::Png);
            assert!(matches!(error, PictureError::TooLarge | PictureError::Broken(_)), "{width} x {height}: {error}");
        }
        assert!(matches!(refused(&lying_png(19_999, 19_999), ImageFormat::Png), PictureError::TooLarge));
        // Pixels that the file does not have.
        assert!(matches!(refused(&lying_png(3000, 3000), ImageFormat::Png), PictureError::Broken(_)));
        // A real bomb: ten million equal pixels in some kilobytes.
        let plain = |side: u32| {
            let mut file = Vec::new();
            let pixels = vec![0; (side * side * 4) as usize];
            PngEncoder::new(&mut file).write_image(&pixels, side, side, ExtendedColorType::Rgba8).unwrap();
            file
        };
        let bomb = plain(3200);
        assert!(bomb.len() < 256 << 10, "{}", bomb.len());
        assert!(matches!(refused(&bomb, ImageFormat::Png), PictureError::TooLarge));
        assert!(Picture::of(&plain(3000), ImageFormat::Png).is_ok());
    }

    #[test]
    fn what_is_cut_off_or_another_thing_is_refused_or_shown_in_part() {
        for format in FORMATS {
            let file = encoded(format, 300, 200);
            for len in [0, 1, 10, 30, file.len() / 3, file.len() - 1] {
                // Some decoders show what is there; none of them breaks, or makes up another size.
                if let Ok(small) = Picture::of(&file[..len], format) {
                    assert_eq!(shown(&small).width(), SIDE, "{format:?} of {len} bytes");
                }
            }
            for other in FORMATS.into_iter().filter(|other| *other != format) {
                assert!(Picture::of(&file, other).is_err(), "{format:?} as {other:?}");
            }
            assert!(Picture::of(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", format).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn hostile_bytes_break_nothing(which in 0..FORMATS.len(), flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..20)) {
            let format = FORMATS[which];
            let mut file = encoded(format, 40, 30);
            for (at, flip) in flips {
                let at = usize::from(at) % file.len();
                file[at] ^= flip;
            }
            if let Ok(small) = Picture::of(&file, format) {
                prop_assert!(shown(&small).width() <= SIDE && shown(&small).height() <= SIDE);
            }
        }
    }

    #[test]
    fn the_last_pictures_are_kept() {
        let thumbnails = Thumbnails::default();
        let key = |number: u8| (VaultId::from_bytes([1; 16]), ObjectId::from_bytes([number; 32]));
        let picture = |len: usize| Arc::new(Picture { media_type: "image/jpeg", bytes: vec![0; len].into() });
        assert_eq!(thumbnails.find(&key(0)), None);
        thumbnails.keep(key(0), None);
        assert_eq!(thumbnails.find(&key(0)), Some(None));
        for number in 1..=5 {
            thumbnails.keep(key(number), Some(picture(4 << 20)));
            // Looked at again and again, it stays.
            assert!(thumbnails.find(&key(1)).is_some());
        }
        assert!(thumbnails.find(&key(0)).is_none() && thumbnails.find(&key(2)).is_none());
        assert!(thumbnails.find(&key(5)).flatten().is_some());
        assert!(thumbnails.lock().len <= KEPT_LEN_MAX);
        thumbnails.keep(key(5), None);
        assert_eq!(thumbnails.find(&key(5)), Some(None));
    }
}
