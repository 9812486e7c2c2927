//! What was measured on a GPU as bars; SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::time;
use crate::exec::gpu::Tuned;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const WIDTH: i32 = 960;
/// Height of the head, of a bar with what is around it, and of the foot.
const HEAD: i32 = 66;
const LINE: i32 = 24;
const FOOT: i32 = 16;
/// Where bars begin, and where that of the default ends.
const BARS: (i32, i32) = (420, 760);
const DEFAULT: RGBColor = RGBColor(222, 222, 222);
const CHOSEN: RGBColor = RGBColor(31, 119, 180);
const SAME: RGBColor = RGBColor(150, 150, 150);
const TEXT: RGBColor = RGBColor(40, 40, 40);

/// Draws the time of each chosen way as a part of the default's.
///
/// # Errors
/// That there is nothing to draw.
pub fn draw(device: &str, known: &[Tuned]) -> Result<String, String> {
    let compared: Vec<(&Tuned, f64)> = known.iter().filter_map(|one| Some((one, one.seconds?))).collect();
    if compared.is_empty() {
        return Err("nothing was measured that could be drawn".into());
    }
    let height = HEAD + LINE * compared.len() as i32 + FOOT;
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32)).into_drawing_area();
    let drawn = whole(&root, device, &compared).map_err(|e| e.to_string());
    drop(root);
    drawn.map(|()| text)
}

fn whole(root: &Area<'_>, device: &str, compared: &[(&Tuned, f64)]) -> Drawn {
    root.fill(&WHITE)?;
    label(root, device, (16, 20), 17.0, HPos::Left)?;
    label(root, "time of the fastest way; grey: of the default", (BARS.0, 48), 13.0, HPos::Left)?;
    for (at, (one, seconds)) in compared.iter().enumerate() {
        bar(root, HEAD + LINE * at as i32, one, *seconds)?;
    }
    root.present()?;
    Ok(())
}

fn bar(root: &Area<'_>, top: i32, one: &Tuned, seconds: f64) -> Drawn {
    let plural = if one.rows == 1 { "row" } else { "rows" };
    let name = format!("{} {}, {} {plural}", one.op, one.shape, one.rows);
    let middle = top + LINE / 2;
    label(root, &shortened(&name), (BARS.0 - 10, middle), 13.0, HPos::Right)?;
    let wide = f64::from(BARS.1 - BARS.0);
    let own = BARS.0 + (wide / one.gain.max(1.0)).round() as i32;
    let colour = if one.chosen == one.default { SAME } else { CHOSEN };
    root.draw(&Rectangle::new([(BARS.0, top + 3), (BARS.1, top + LINE - 3)], DEFAULT.filled()))?;
    root.draw(&Rectangle::new([(BARS.0, top + 3), (own, top + LINE - 3)], colour.filled()))?;
    let gain = if one.chosen == one.default {
        "the default".into()
    } else {
        format!("{:.2} times as fast", one.gain)
    };
    label(root, &format!("{}, {gain}", time(seconds)), (BARS.1 + 10, middle), 13.0, HPos::Left)
}

/// What fits before the bars.
fn shortened(name: &str) -> String {
    const MOST: usize = 60;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

fn label(root: &Area<'_>, text: &str, at: (i32, i32), size: f64, side: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&TEXT).pos(Pos::new(side, VPos::Center));
    root.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_time() {
        let one = |gain: f64, chosen: &str| Tuned {
            op: "linear q4_1".into(),
            shape: "1536x576".into(),
            rows: 1,
            chosen: chosen.into(),
            seconds: Some(12.3e-6),
            default: "a".into(),
            gain,
        };
        let unknown = Tuned { seconds: None, ..one(1.0, "a") };
        let text = draw("a <GPU>", &[one(2.0, "b"), one(1.0, "a"), unknown.clone()]).unwrap();
        for part in [
            "a &lt;GPU&gt;",
            "linear q4_1 1536x576, 1 row",
            "12.3 us, 2.00 times as fast",
            "the default",
            "</svg>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let half = (BARS.1 - BARS.0) / 2;
        assert!(text.contains(&format!("width=\"{half}\"")), "{text}");
        assert_eq!(
            text.matches("<rect").count(),
            1 + 2 * 2,
            "a ground, and two bars of each that was measured"
        );
        assert!(draw("", &[unknown]).is_err());
        assert_eq!(shortened(&"x".repeat(99)).chars().count(), 60);
        if let Some(path) = std::env::var_os("EMBER_TEST_SVG") {
            std::fs::write(path, text).unwrap();
        }
    }
}
