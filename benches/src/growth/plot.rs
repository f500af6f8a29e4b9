//! [`plot`]: curves on two logarithmic axes, as SVG. What grows in proportion is a straight line that rises a decade in a decade.

use std::fmt::{Arguments, Write};

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 50.0;
const COLOURS: [&str; 3] = ["#1b6ca8", "#2e8b57", "#c0392b"];

/// Points (size, CPU seconds), all above zero.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One panel for each unit that sizes are counted in.
pub fn plot(panels: &[(&str, Vec<Curve>)]) -> String {
    let width = (WIDTH + MARGIN) * panels.len() as f64 + MARGIN;
    let height = HEIGHT + 2.0 * MARGIN;
    let mut svg = String::new();
    let out = &mut svg;
    let size = format!("width=\"{width}\" height=\"{height}\"");
    line(
        out,
        format_args!("<svg xmlns=\"http://www.w3.org/2000/svg\" {size} font-family=\"sans-serif\" font-size=\"12\">"),
    );
    line(out, format_args!("<rect {size} fill=\"white\"/>"));
    for (index, (unit, curves)) in panels.iter().enumerate() {
        panel(out, MARGIN + (WIDTH + MARGIN) * index as f64, unit, curves);
    }
    line(out, format_args!("</svg>"));
    svg
}

/// Where a number stands between powers of ten, 0 to 1.
struct Axis {
    first: f64,
    last: f64,
}

impl Axis {
    fn of(numbers: impl Iterator<Item = f64> + Clone) -> Self {
        let first = numbers.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let last = numbers.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
        Self { first, last: last.max(first + 1.0) }
    }

    fn place(&self, number: f64) -> f64 {
        (number.log10() - self.first) / (self.last - self.first)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        let (first, steps) = (self.first, (self.last - self.first) as u32);
        (0..=steps).map(move |step| 10f64.powf(first + f64::from(step)))
    }
}

fn panel(out: &mut String, left: f64, unit: &str, curves: &[Curve]) {
    let points = curves.iter().flat_map(|curve| curve.points.iter());
    // What took less than the clock's step stands on the floor.
    let seconds = |cpu: f64| cpu.max(0.01);
    if points.clone().next().is_none() {
        return;
    }
    let across = Axis::of(points.clone().map(|(size, _)| *size));
    let up = Axis::of(points.map(|(_, cpu)| seconds(*cpu)));
    let x = |size: f64| left + across.place(size) * (WIDTH - MARGIN);
    let y = |cpu: f64| MARGIN + (1.0 - up.place(cpu)) * HEIGHT;
    let (bottom, right) = (MARGIN + HEIGHT, left + WIDTH - MARGIN);
    for size in across.powers() {
        let at = x(size);
        grid(out, format_args!("M{at:.1} {MARGIN}V{bottom:.1}"));
        text(out, (at, bottom + 18.0), "middle", "black", &size.to_string());
    }
    for cpu in up.powers() {
        let at = y(cpu);
        grid(out, format_args!("M{left:.1} {at:.1}H{right:.1}"));
        text(out, (left - 6.0, at + 4.0), "end", "black", &cpu.to_string());
    }
    text(out, (left, MARGIN - 24.0), "start", "black", &format!("CPU seconds of both sides, by {unit}"));
    for (index, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        let places: Vec<String> =
            curve.points.iter().map(|(size, cpu)| format!("{:.1},{:.1}", x(*size), y(seconds(*cpu)))).collect();
        line(out, format_args!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", places.join(" ")));
        for place in places.iter().filter_map(|place| place.split_once(',')) {
            line(out, format_args!("<circle cx=\"{}\" cy=\"{}\" r=\"3\" fill=\"{colour}\"/>", place.0, place.1));
        }
        text(out, (left + 80.0 * index as f64, MARGIN - 8.0), "start", colour, &curve.name);
    }
}

fn grid(out: &mut String, path: Arguments<'_>) {
    line(out, format_args!("<path d=\"{path}\" stroke=\"lightgrey\"/>"));
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    line(
        out,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"),
    );
}

fn line(out: &mut String, line: Arguments<'_>) {
    writeln!(out, "{line}").expect("strings take everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_in_proportion_is_a_straight_line() {
        let points = vec![(10.0, 0.1), (100.0, 1.0), (1000.0, 10.0)];
        let svg = plot(&[("files", vec![Curve { name: "first".to_owned(), points }]), ("GB", Vec::new())]);
        assert!(svg.contains("points=\"50.0,350.0 205.0,200.0 360.0,50.0\""), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.ends_with("</svg>\n"), "{svg}");
    }
}
