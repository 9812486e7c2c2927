//! First fit: every sequence goes into the first micro-batch that has room for it.

/// Free rows of the open bins in a tree of maxima, so that the first with room is found in logarithmic time.
struct Bins {
    /// `tree[1]` is the root, the children of `i` are `2 i` and `2 i + 1`, the leaves are the bins.
    tree: Vec<usize>,
    leaves: usize,
}

impl Bins {
    /// `count` bins of `size` rows each.
    fn new(count: usize, size: usize) -> Self {
        let leaves = count.max(1).next_power_of_two();
        Self { tree: vec![size; 2 * leaves], leaves }
    }

    fn free(&self, node: usize) -> usize {
        self.tree.get(node).copied().unwrap_or(0)
    }

    /// Takes `len` rows of the first bin that has them; `None` if none has.
    fn take(&mut self, len: usize) -> Option<usize> {
        if self.free(1) < len {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node = if self.free(2 * node) >= len { 2 * node } else { 2 * node + 1 };
        }
        let bin = node - self.leaves;
        if let Some(free) = self.tree.get_mut(node) {
            *free -= len;
        }
        while node > 1 {
            node /= 2;
            let most = self.free(2 * node).max(self.free(2 * node + 1));
            if let Some(free) = self.tree.get_mut(node) {
                *free = most;
            }
        }
        Some(bin)
    }
}

/// Distributes `order` over bins of at most `max_rows` rows; every length must fit into one.
pub(super) fn first_fit(order: &[usize], lengths: &[usize], max_rows: usize) -> Vec<Vec<usize>> {
    let mut bins = Bins::new(order.len(), max_rows);
    let mut out: Vec<Vec<usize>> = Vec::new();
    for &example in order {
        let len = lengths.get(example).copied().unwrap_or(0);
        let Some(bin) = bins.take(len) else { continue };
        if bin >= out.len() {
            out.resize_with(bin + 1, Vec::new);
        }
        if let Some(list) = out.get_mut(bin) {
            list.push(example);
        }
    }
    out
}
