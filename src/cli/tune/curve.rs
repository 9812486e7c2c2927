//! The loss as a line of characters, and as a picture.

/// Heights, lowest first: blocks, and what a terminal without UTF-8 shows.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ',', '-', '~', '=', '*', '#'];

/// A line of at most `width` characters, a character for each group of neighbouring points; none without two points
/// that are finite.
pub fn sparkline(points: &[(u64, f64)], width: usize) -> Option<String> {
    line(points, width, if utf8() { BLOCKS } else { ASCII })
}

fn line(points: &[(u64, f64)], width: usize, levels: [char; 8]) -> Option<String> {
    let values: Vec<f64> = points.iter().map(|p| p.1).filter(|v| v.is_finite()).collect();
    if values.len() < 2 {
        return None;
    }
    let columns = width.clamp(1, values.len());
    // Groups differ by one point at most, so that the line is as wide as it may be.
    let group = |i: usize| &values[i * values.len() / columns..(i + 1) * values.len() / columns];
    let means: Vec<f64> =
        (0..columns).map(|i| group(i).iter().sum::<f64>() / group(i).len() as f64).collect();
    let (low, high) = range(means.iter().copied());
    let level = |v: &f64| ((v - low) / (high - low).max(f64::MIN_POSITIVE) * 7.0).round().clamp(0.0, 7.0);
    Some(means.iter().map(|v| levels[level(v) as usize]).collect())
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
}

/// Whether the terminal shows UTF-8; POSIX: the first of these that is set counts. Windows' terminals do.
pub(in crate::cli) fn utf8() -> bool {
    let set = |name: &&str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    locale.map_or(cfg!(windows), |l| l.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

#[cfg(feature = "plot")]
pub use svg::draw as svg;

#[cfg(feature = "plot")]
mod svg {
    use plotters::coord::Shift;
    use plotters::prelude::*;

    type Points = Vec<(f64, f64)>;
    type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

    const SIZE: (u32, u32) = (900, 520);
    const RATE_HEIGHT: u32 = 130;
    const TRAIN: RGBColor = RGBColor(31, 119, 180);
    const VALIDATION: RGBColor = RGBColor(214, 89, 26);
    const RATE: RGBColor = RGBColor(90, 90, 90);

    /// Draws the losses by step, and the learning rate below them where `rates` has two points; SVG.
    ///
    /// # Errors
    /// That there is nothing to draw.
    pub fn draw(
        title: &str,
        train: &[(u64, f64)],
        validation: &[(u64, f64)],
        rates: &[(u64, f64)],
    ) -> Result<String, String> {
        let (train, validation, rates) = (finite(train), finite(validation), finite(rates));
        if train.is_empty() && validation.is_empty() {
            return Err("there is no loss to draw".into());
        }
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let drawn = parts(&root, title, &train, &validation, &rates).map_err(|e| e.to_string());
        drop(root);
        drawn.map(|()| text)
    }

    fn parts(
        root: &Area<'_>,
        title: &str,
        train: &Points,
        validation: &Points,
        rates: &Points,
    ) -> Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let has_rates = rates.len() > 1;
        let split = if has_rates { SIZE.1 - RATE_HEIGHT } else { SIZE.1 };
        let (upper, lower) = root.split_vertically(split);
        losses(&upper, title, train, validation, !has_rates)?;
        if has_rates {
            rate(&lower, rates, steps(&[train, validation]))?;
        }
        root.present()?;
        Ok(())
    }

    fn losses(
        area: &Area<'_>,
        title: &str,
        train: &Points,
        validation: &Points,
        labelled: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (low, high) = super::range(train.iter().chain(validation).map(|p| p.1));
        let margin = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-6);
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(if labelled { 42 } else { 24 })
            .y_label_area_size(64)
            .build_cartesian_2d(steps(&[train, validation]), (low - margin).min(low)..high + margin)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE)
            .bold_line_style(RGBColor(228, 228, 228))
            .axis_style(RGBColor(120, 120, 120));
        mesh.x_label_formatter(&|x| format!("{x:.0}")).y_desc("loss").label_style(("sans-serif", 13));
        if labelled {
            mesh.x_desc("step");
        }
        mesh.draw()?;
        chart.draw_series(train.iter().map(|p| Circle::new(*p, 2, TRAIN.mix(0.22).filled())))?;
        if !train.is_empty() {
            chart
                .draw_series(LineSeries::new(smooth(train), TRAIN.stroke_width(2)))?
                .label("training (smoothed)")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], TRAIN.stroke_width(2)));
        }
        if !validation.is_empty() {
            chart
                .draw_series(LineSeries::new(validation.clone(), VALIDATION.stroke_width(2)).point_size(3))?
                .label("validation")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], VALIDATION.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 13))
            .legend_area_size(28)
            .draw()?;
        Ok(())
    }

    fn rate(
        area: &Area<'_>,
        rates: &Points,
        steps: std::ops::Range<f64>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let high = super::range(rates.iter().map(|p| p.1)).1.max(f64::MIN_POSITIVE);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_top(0)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(steps, 0.0..high * 1.1)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE)
            .bold_line_style(RGBColor(228, 228, 228))
            .axis_style(RGBColor(120, 120, 120));
        mesh.x_label_formatter(&|x| format!("{x:.0}")).y_label_formatter(&|y| format!("{y:.0e}"));
        mesh.x_desc("step").y_desc("rate").y_labels(3).label_style(("sans-serif", 13));
        mesh.draw()?;
        chart.draw_series(LineSeries::new(rates.clone(), RATE.stroke_width(2)))?;
        Ok(())
    }

    fn finite(points: &[(u64, f64)]) -> Points {
        points.iter().filter(|p| p.1.is_finite()).map(|p| (p.0 as f64, p.1)).collect()
    }

    /// Steps of all points; never empty.
    fn steps(series: &[&Points]) -> std::ops::Range<f64> {
        let (low, high) = super::range(series.iter().flat_map(|s| s.iter().map(|p| p.0)));
        low..high.max(low + 1.0)
    }

    /// Exponential mean over about a thirtieth of the run, its start corrected as Adam corrects its moments.
    fn smooth(points: &Points) -> Points {
        let keep = 1.0 - 1.0 / (points.len() as f64 / 30.0).max(1.0);
        let (mut sum, mut weight) = (0.0, 0.0);
        let mut next = |(x, y): &(f64, f64)| {
            (sum, weight) = (keep * sum + (1.0 - keep) * y, keep * weight + (1.0 - keep));
            (*x, sum / weight)
        };
        points.iter().map(&mut next).collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::bounds;

        #[test]
        fn a_picture_has_axes_legend_and_lines() {
            let train: Vec<(u64, f64)> =
                (1..=200).map(|s| (s, 3.0 / (s as f64).sqrt() + (s % 7) as f64 / 30.0)).collect();
            let validation: Vec<(u64, f64)> = (1..=4).map(|s| (s * 50, 2.0 / s as f64)).collect();
            let rates: Vec<(u64, f64)> = (1..=200).map(|s| (s, 5e-4 * (1.0 - s as f64 / 200.0))).collect();
            let text = draw("a <loss>", &train, &validation, &rates).unwrap();
            for part in [
                "<svg",
                "step",
                "loss",
                "validation",
                "training (smoothed)",
                "rate",
                "a &lt;loss&gt;",
                "</svg>",
            ] {
                assert!(text.contains(part), "{part}");
            }
            assert!(text.matches("<circle").count() >= 200, "raw points");
            if let Some(path) = std::env::var_os("EMBER_TEST_SVG") {
                std::fs::write(path, text).unwrap();
            }
        }

        #[test]
        fn odd_data_are_drawn_or_refused() {
            assert!(draw("", &[(1, 2.0)], &[], &[]).is_ok());
            assert!(draw("", &[(5, 2.0), (6, 2.0)], &[(6, 2.0)], &[(5, 0.0), (6, 0.0)]).is_ok());
            assert!(draw("", &[(1, f64::NAN), (2, 1.0)], &[], &[]).is_ok_and(|t| !t.contains("NaN")));
            assert!(draw("", &[(1, f64::NAN)], &[], &[]).is_err());
        }

        #[test]
        fn smoothing_keeps_a_constant() {
            let points: Points = (0..100).map(|i| (i as f64, 1.5)).collect();
            assert!(smooth(&points).iter().all(|p| (p.1 - 1.5).abs() < bounds::DOUBLES));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_falls() {
        let falling: Vec<(u64, f64)> = (0..100).map(|s| (s, 100.0 - s as f64)).collect();
        let drawn = line(&falling, 70, BLOCKS).unwrap();
        assert_eq!(drawn.chars().count(), 70);
        assert!(drawn.starts_with('█') && drawn.ends_with('▁'), "{drawn}");
        assert_eq!(line(&falling[..8], 70, ASCII).unwrap(), "#*=~-,._");
    }

    #[test]
    fn odd_points_do_no_harm() {
        assert_eq!(line(&[(0, 1.0)], 10, ASCII), None);
        assert_eq!(line(&[(0, 1.0), (1, f64::NAN)], 10, ASCII), None);
        assert_eq!(line(&[(0, 1.0), (1, 1.0)], 10, ASCII).unwrap(), "__");
        assert_eq!(line(&[(0, 1.0), (1, 3.0)], 0, ASCII).unwrap(), "_");
    }
}
