//! Codes that a camera reads, as drawings.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code that readers want.
const QUIET: usize = 4;

/// A QR code of `text` as an SVG document, black on white whatever is around it; `None` when the text is too long for one.
pub(crate) fn svg(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET;
    let dark = code.to_colors().into_iter().enumerate().filter(|(_, color)| *color == Color::Dark);
    let path: String = dark.map(|(at, _)| format!("M{} {}h1v1h-1z", at % width + QUIET, at / width + QUIET)).collect();
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_finders_and_its_margin() {
        let svg = svg("bk1:backup.example:8080:x:y").unwrap();
        // The corner of the finder at the top left is dark, the module outside of it is not.
        assert!(svg.contains("M4 4h1v1h-1z") && !svg.contains("M3 4h1v1h-1z"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
        assert!(super::svg(&"x".repeat(5000)).is_none());
    }
}
