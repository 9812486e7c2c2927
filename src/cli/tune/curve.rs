//! The loss as a line of characters.

/// A line of at most `width` characters; none without two points.
pub fn sparkline(points: &[(u64, f64)], width: usize) -> Option<String> {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if points.len() < 2 {
        return None;
    }
    let each = points.len().div_ceil(width.max(1));
    let means: Vec<f64> =
        points.chunks(each).map(|c| c.iter().map(|p| p.1).sum::<f64>() / c.len() as f64).collect();
    let (low, high) = means.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    let level =
        |v: &f64| LEVELS[(((v - low) / (high - low).max(1e-12)) * 7.0).round().clamp(0.0, 7.0) as usize];
    Some(means.iter().map(level).collect())
}
