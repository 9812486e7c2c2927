#import step_types

// Number of active rows: token rows (count = 0) or output rows (count = 1).
fn active_rows(header: Row, count: u32) -> u32 {
    return select(header.slot, header.pos, count == 1u);
}
