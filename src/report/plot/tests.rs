//! That every picture is well-formed, whatever its numbers and names are.

use super::*;

/// x, y and spread.
type Dot = (f64, f64, Option<f64>);

/// Follows the tags of a picture: each that is opened is closed, in order, and every attribute is quoted.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > before {}", &rest[start..]);
        let text = &rest[..start];
        for (at, _) in text.match_indices('&') {
            assert!(["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|e| text[at..].starts_with(e)), "{text}");
        }
        let end = start + rest[start..].find('>').expect("a tag that ends");
        let tag = &rest[start + 1..end];
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name)),
            (None, true) => {}
            (None, false) => open.push(tag.split(' ').next().expect("a name")),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    for bad in ["NaN", "inf"] {
        assert!(!svg.contains(bad), "{bad} in {svg}");
    }
}

fn chart(curves: &[&[Dot]]) -> Chart {
    let curve = |(i, points): (usize, &&[Dot])| Curve {
        name: format!("curve {i}"),
        points: points.iter().map(|&(x, y, spread)| Point { x, y, spread }).collect(),
        dotted: false,
    };
    let curves = curves.iter().enumerate().map(curve).collect();
    Chart { title: "title".into(), x_label: "updates".into(), y_label: "reward".into(), curves }
}

#[test]
fn pictures_of_odd_numbers_are_well_formed() {
    let (nan, infinite) = (f64::NAN, f64::INFINITY);
    let cases: [&[&[Dot]]; 9] = [
        &[],
        &[&[]],
        &[&[(3.0, 0.5, None)]],
        &[&[(0.0, 0.0, Some(0.0))]],
        &[&[(0.0, 0.7, Some(0.0)), (40.0, 0.7, Some(0.0))]],
        &[&[(0.0, nan, None), (1.0, infinite, None), (2.0, 1.0, Some(nan))]],
        &[&[(0.0, nan, None), (1.0, 0.5, Some(0.1)), (2.0, 0.6, None)], &[(0.0, -3.0, None)]],
        &[&[(0.0, -f64::MAX, None), (1.0, f64::MAX, None)]],
        &[&[(0.0, 1e-12, None), (1e7, 2e-12, None)]],
    ];
    for case in cases {
        assert_well_formed(&chart(case).svg());
    }
    assert!(chart(&[&[]]).svg().contains("no finished run"));
}

#[test]
fn names_are_escaped() {
    let mut chart = chart(&[&[(0.0, 1.0, None)]]);
    let name = "a<b & \"c\" > 'd'\u{1b}\u{0}";
    chart.title = name.into();
    chart.x_label = name.into();
    chart.y_label = name.into();
    chart.curves[0].name = name.repeat(20);
    let svg = chart.svg();
    assert_well_formed(&svg);
    assert!(svg.contains("a&lt;b &amp; &quot;c&quot; &gt; &#39;d&#39;\\u{1b}\\0"), "{svg}");
}

#[test]
fn a_curve_lies_where_its_numbers_say() {
    let svg = chart(&[&[(0.0, 0.0, Some(0.0)), (10.0, 1.0, Some(0.5))]]).svg();
    // y reaches from 0 to 1.5, with a twentieth more on both sides: 300 units for 1.65
    let row = |y: f64| 344.0 - (y + 0.075) / 1.65 * 300.0;
    assert!(svg.contains(&format!("M70.0 {:.1}L740.0 {:.1}\"", row(0.0), row(1.0))), "{svg}");
    let band = format!("M70.0 {0:.1}L740.0 {1:.1}L740.0 {2:.1}L70.0 {0:.1}Z", row(0.0), row(1.5), row(0.5));
    assert!(svg.contains(&band), "{svg}");
}

#[test]
fn ticks_are_round() {
    let ticks = |low, high, least| Range { low, high }.ticks(least);
    assert_eq!(ticks(0.0, 120.0, 1.0), (vec![0.0, 50.0, 100.0], 0));
    assert_eq!(ticks(0.0, 2.0, 1.0), (vec![0.0, 1.0, 2.0], 0));
    let (values, digits) = ticks(0.655, 0.97, 0.0);
    let shown: Vec<String> = values.iter().map(|v| format!("{v:.digits$}")).collect();
    assert_eq!(shown, ["0.7", "0.8", "0.9"]);
    assert_eq!(ticks(-1.0, 1.0, 0.0).0.len(), 5);
}

#[test]
fn long_numbers_ran_out_of_the_picture() {
    assert_eq!((number(0.0001, 4), number(5e5, 0)), ("0.0001".into(), "500000".into()));
    let shown = [(0.0, 6), (2e-6, 6), (1.15e-5, 7)].map(|(tick, digits)| number(tick, digits));
    assert_eq!(shown, ["0", "2e-6", "1.15e-5"]);
}

#[test]
fn many_points_are_thinned_and_many_curves_told_apart() {
    let points: Vec<Dot> = (0..100_000).map(|i| (f64::from(i), f64::from(i % 7), None)).collect();
    let svg = chart(&[&points]).svg();
    assert!(svg.len() < 60_000, "{}", svg.len());
    let looks: std::collections::BTreeSet<String> = (0..24).map(|i| Look::of(i).stroke()).collect();
    assert_eq!(looks.len(), 24);
}

/// One outlier in a million updates.
#[test]
fn extremes_and_ends_were_thinned_away() {
    let value = |i: u32| match i {
        0 => 0.25,
        99_999 => 0.75,
        4_321 => 9.0,
        54_321 => -9.0,
        _ => 0.5,
    };
    let points: Vec<Dot> = (0..100_000).map(|i| (f64::from(i), value(i), None)).collect();
    let inline = chart(&[&points]).inline();
    assert_well_formed(&inline);
    assert!(inline.len() < 20_000, "{}", inline.len());
    let frame = Frame { x: Range { low: 0.0, high: 99_999.0 }, y: Range { low: -9.0, high: 9.0 }, grain: PAGE_GRAIN };
    let points: Vec<Point> = points.iter().map(|&(x, y, spread)| Point { x, y, spread }).collect();
    let kept = frame.apart(&points);
    for extreme in [0, 4_321, 54_321, 99_999] {
        assert!(kept.contains(&points[extreme]), "{extreme}");
    }
    assert!(kept.windows(2).all(|w| w[0].x < w[1].x));
}
