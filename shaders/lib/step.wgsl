#import step_types

// What `count` parameters mean; `Over` in Rust.
const TOKEN_ROWS: u32 = 0u;
const OUTPUT_ROWS: u32 = 1u;
const ONE_ROW: u32 = 2u;

// Number of active token rows or output rows.
fn active_rows(header: Row, count: u32) -> u32 {
    return select(header.slot, header.pos, count == OUTPUT_ROWS);
}

// Seed of this step's dropout.
fn dropout_seed(header: Row) -> u32 {
    return header.first;
}

// The slot that a row is copied from.
fn source_slot(row: Row) -> u32 {
    return row.token;
}
