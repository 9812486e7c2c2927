//! Draws the memory map of a model before anything is allocated, and lets a budget refuse it.
//!
//! `cargo run --release --example plan_memory -- model.gguf 64`  (budget in MiB)
use emberlm::model::{KvType, Model, ModelError};
use emberlm::plan::BudgetError;
use emberlm::session::{DeviceChoice, SessionError, SessionOptions, device_profile, plan_memory};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: plan_memory MODEL.gguf [BUDGET_MIB]")?;
    let budget: Option<u64> = args.next().map(|mib| mib.parse()).transpose()?;

    let model = Model::open(&path)?;
    let mut options =
        SessionOptions { device: DeviceChoice::Cpu, kv: KvType::Block16, ..SessionOptions::default() };
    let profile = device_profile(&options)?;

    println!("{:>8} {:>14}", "context", "bytes");
    for ctx in [256, 1024, 4096] {
        options.ctx = Some(ctx);
        let (_, layout) = plan_memory(&model, &options, profile)?;
        println!("{ctx:>8} {:>14}", layout.total());
    }

    options.budget = budget.map(|mib| mib << 20);
    match plan_memory(&model, &options, profile) {
        Ok((program, layout)) => {
            println!("\nat a context of 4096:");
            for segment in &layout.segments {
                println!("  {:10} {:>14}", segment.kind.name(), segment.bytes());
            }
            for item in layout.demands(&program).iter().take(3) {
                println!("  largest: {} {}", item.name, item.bytes);
            }
            println!("  {} bytes of weights stay in the mapped file", layout.mapped);
        }
        Err(SessionError::Model(ModelError::Budget(BudgetError::Over { needed, budget, fits, .. }))) => {
            println!("\n{needed} bytes do not fit the budget of {budget}");
            if let Some(fits) = fits {
                println!("what fits: {fits}");
            }
        }
        Err(other) => return Err(other.into()),
    }
    Ok(())
}
