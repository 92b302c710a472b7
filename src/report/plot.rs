//! Curves with bands as an SVG picture: pure, from numbers to one string.
//!
//! The picture has its own background and follows the reader's light or dark scheme. Curves differ in colour (Okabe and
//! Ito's, which colour-blind readers tell apart) and, beyond these, in dashes.

use std::fmt::Write as _;

use super::markup::escaped_line;

/// One picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// What lies on the x axis: counts.
    pub x_label: String,
    /// What lies on the y axis.
    pub y_label: String,
    /// The curves, in the order of the legend.
    pub curves: Vec<Curve>,
}

/// One line with its band.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// The name in the legend.
    pub name: String,
    /// By rising x. What is not finite is left out.
    pub points: Vec<Point>,
    /// Whether every point has a dot.
    pub dotted: bool,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// How much.
    pub y: f64,
    /// Half the height of the band.
    pub spread: Option<f64>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 344.0;
/// Height of a line of the legend, and where the first one is.
const LINE: f64 = 18.0;
const LEGEND: f64 = BOTTOM + 62.0;
/// Characters of a name that fit into the legend.
const NAME: usize = 100;
/// Width of the columns in which points of a file of its own, and of a page, are not told apart.
const GRAIN: f64 = 0.5;
const PAGE_GRAIN: f64 = 2.0;
/// Digits behind the point that have room beside the picture.
const MOST_DIGITS: usize = 4;
/// Ticks of an axis, about.
const TICKS: f64 = 5.0;

const COLOURS: [&str; 6] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];

const STYLE: &str = "<style>.page{fill:#fff}text{fill:#24292f;font:12px sans-serif}.title{font-size:15px;font-weight:600}\
.grid{stroke:#d8dee4}.axis{stroke:#57606a}@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}\
.grid{stroke:#30363d}.axis{stroke:#8b949e}}</style>";

impl Chart {
    /// The picture as the text of an SVG file.
    pub fn svg(&self) -> String {
        let height = LEGEND + LINE * self.curves.len() as f64;
        let title = escaped_line(&self.title);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n{STYLE}\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"26\">{title}</text>\n"
        );
        self.draw(GRAIN, true, &mut out);
        out + "</svg>\n"
    }

    /// The picture without title and legend, for a page that has both, and a style for the classes `grid` and `axis`.
    pub fn inline(&self) -> String {
        // a little more on the left and above than a file has, for larger type
        let (left, top) = (-14.0, TOP - 32.0);
        let mut out = format!(
            "<svg class=\"chart\" viewBox=\"{left} {top} {} {}\" role=\"img\" aria-label=\"{}\">\n",
            WIDTH - left,
            BOTTOM + 46.0 - top,
            escaped_line(&self.title)
        );
        self.draw(PAGE_GRAIN, false, &mut out);
        out + "</svg>\n"
    }

    fn draw(&self, grain: f64, whole: bool, out: &mut String) {
        let middle = f64::midpoint(TOP, BOTTOM);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 38.0,
            escaped_line(&self.x_label)
        );
        let y_label = escaped_line(&self.y_label);
        let _ = match whole {
            true => writeln!(
                out,
                "<text transform=\"translate(18 {middle}) rotate(-90)\" text-anchor=\"middle\">{y_label}</text>"
            ),
            // in larger type there is no room beside the numbers
            false => writeln!(out, "<text x=\"8\" y=\"{}\">{y_label}</text>", TOP - 14.0),
        };
        let curves: Vec<Curve> = self.curves.iter().map(Curve::finite).collect();
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let reach = |p: &Point| [p.y - p.spread.unwrap_or(0.0), p.y + p.spread.unwrap_or(0.0)];
        let ends = (Range::of(points().map(|p| p.x)), Range::of(points().flat_map(reach)));
        let (Some(x), Some(y)) = ends else {
            let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{middle}\">no finished run</text>");
            return;
        };
        let frame = Frame { x: x.widened(0.0), y: y.widened(0.05), grain };
        frame.axes(out);
        for (i, curve) in curves.iter().enumerate() {
            let look = Look::of(i);
            frame.curve(curve, look, out);
            if whole {
                legend(&curve.name, look, LEGEND + LINE * i as f64, out);
            }
        }
    }

    /// The line of curve `i` for a legend, 28 by 8 units.
    pub fn swatch(i: usize) -> String {
        let stroke = Look::of(i).stroke();
        format!(
            "<svg class=\"swatch\" viewBox=\"0 0 28 8\" aria-hidden=\"true\">\
             <line x1=\"0\" y1=\"4\" x2=\"28\" y2=\"4\" {stroke}/></svg>"
        )
    }
}

impl Curve {
    fn finite(&self) -> Self {
        let finite = |p: &&Point| p.x.is_finite() && p.y.is_finite() && p.spread.is_none_or(f64::is_finite);
        Self { points: self.points.iter().filter(finite).copied().collect(), ..self.clone() }
    }
}

/// How a curve looks.
#[derive(Clone, Copy)]
struct Look {
    colour: &'static str,
    dash: &'static str,
}

impl Look {
    fn of(i: usize) -> Self {
        Self { colour: COLOURS[i % COLOURS.len()], dash: DASHES[i / COLOURS.len() % DASHES.len()] }
    }

    fn stroke(self) -> String {
        let dash = if self.dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", self.dash) };
        format!("stroke=\"{}\" stroke-width=\"2\"{dash}", self.colour)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let widen = |range: Option<Self>, v: f64| {
            let Self { low, high } = range.unwrap_or(Self { low: v, high: v });
            Some(Self { low: low.min(v), high: high.max(v) })
        };
        values.fold(None, widen).filter(|range| (range.high - range.low).is_finite())
    }

    /// With a share of its width more on both sides; of one value, with room around it.
    fn widened(self, share: f64) -> Self {
        let room = match self.high - self.low {
            0.0 => 0.1 * self.low.abs().max(1.0),
            width => share * width,
        };
        Self { low: self.low - room, high: self.high + room }
    }

    /// Round numbers inside, `least` or more apart, and the digits that tell them apart.
    fn ticks(self, least: f64) -> (Vec<f64>, usize) {
        let rough = (self.high - self.low) / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= rough).unwrap_or(10.0);
        let step = (factor * power).max(least);
        let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let first = (self.low / step).ceil();
        let count = ((self.high / step).floor() - first).max(-1.0) as usize + 1;
        // adding 0 makes 0 of -0
        ((0..count).map(|i| (first + i as f64) * step + 0.0).collect(), digits)
    }
}

/// Where numbers lie on the picture.
struct Frame {
    x: Range,
    y: Range,
    /// Width of what is one place to the eye.
    grain: f64,
}

impl Frame {
    fn column(&self, x: f64) -> f64 {
        LEFT + (x - self.x.low) / (self.x.high - self.x.low) * (RIGHT - LEFT)
    }

    fn row(&self, y: f64) -> f64 {
        BOTTOM - (y - self.y.low) / (self.y.high - self.y.low) * (BOTTOM - TOP)
    }

    fn axes(&self, out: &mut String) {
        let (ticks, digits) = self.y.ticks(0.0);
        for tick in ticks {
            let row = self.row(tick);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{row:.1}\" x2=\"{RIGHT}\" y2=\"{row:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                row + 4.0,
                number(tick, digits)
            );
        }
        let (ticks, digits) = self.x.ticks(1.0);
        for tick in ticks {
            let column = self.column(tick);
            let _ = writeln!(
                out,
                "<line class=\"axis\" x1=\"{column:.1}\" y1=\"{BOTTOM}\" x2=\"{column:.1}\" y2=\"{}\"/>\
                 <text x=\"{column:.1}\" y=\"{}\" text-anchor=\"middle\">{tick:.digits$}</text>",
                BOTTOM + 5.0,
                BOTTOM + 19.0
            );
        }
        let _ = writeln!(out, "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>");
    }

    fn curve(&self, curve: &Curve, look: Look, out: &mut String) {
        let points = self.apart(&curve.points);
        let at = |p: &Point, shift: f64| format!("{:.1} {:.1}", self.column(p.x), self.row(p.y + shift));
        let spread = |p: &Point| p.spread.unwrap_or(0.0);
        if points.iter().any(|p| spread(p) > 0.0) {
            let upper = points.iter().map(|p| at(p, spread(p)));
            let lower = points.iter().rev().map(|p| at(p, -spread(p)));
            let band = upper.chain(lower).collect::<Vec<_>>().join("L");
            let _ = writeln!(out, "<path fill=\"{}\" fill-opacity=\"0.18\" d=\"M{band}Z\"/>", look.colour);
        }
        if points.len() > 1 {
            let line = points.iter().map(|p| at(p, 0.0)).collect::<Vec<_>>().join("L");
            let _ = writeln!(out, "<path fill=\"none\" {} d=\"M{line}\"/>", look.stroke());
        }
        if curve.dotted || points.len() == 1 {
            for p in &points {
                let (column, row) = (self.column(p.x), self.row(p.y));
                let _ = writeln!(out, "<circle cx=\"{column:.1}\" cy=\"{row:.1}\" r=\"3\" fill=\"{}\"/>", look.colour);
            }
        }
    }

    /// The points without those that the eye cannot tell from others: of three and more in a column the lowest and the
    /// highest stay, and the ends of the curve.
    fn apart(&self, points: &[Point]) -> Vec<Point> {
        let place = |p: &Point| ((self.column(p.x) - LEFT) / self.grain).floor();
        let mut kept: Vec<Point> = Vec::new();
        for group in points.chunk_by(|a, b| place(a) == place(b)) {
            if group.len() < 3 {
                kept.extend(group);
                continue;
            }
            let by_height = |&a: &usize, &b: &usize| group[a].y.total_cmp(&group[b].y);
            let (low, high) = ((0..group.len()).min_by(by_height), (0..group.len()).max_by(by_height));
            kept.extend([low.min(high), high.max(low)].into_iter().flatten().map(|i| group[i]));
        }
        let ends = [points.first(), points.last()];
        if let [Some(first), Some(last)] = ends {
            if kept.first() != Some(first) {
                kept.insert(0, *first);
            }
            if kept.last() != Some(last) {
                kept.push(*last);
            }
        }
        kept
    }
}

/// A tick's number; one of many digits with an exponent, and those that tell it from its neighbours.
fn number(tick: f64, digits: usize) -> String {
    if digits <= MOST_DIGITS {
        return format!("{tick:.digits$}");
    }
    if tick == 0.0 {
        return "0".to_owned();
    }
    let digits = (tick.abs().log10().floor() as i32 + digits as i32).clamp(0, 12) as usize;
    format!("{tick:.digits$e}")
}

fn legend(name: &str, look: Look, y: f64, out: &mut String) {
    let shown = match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    };
    let _ = writeln!(
        out,
        "<g><title>{}</title><line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" {}/><text x=\"{}\" y=\"{}\">{}</text></g>",
        escaped_line(name),
        LEFT + 28.0,
        look.stroke(),
        LEFT + 36.0,
        y + 4.0,
        escaped_line(&shown)
    );
}

#[cfg(test)]
mod tests;
