//! What a shader's bindings are bound to: pieces of the memory map.

use super::kernels::{BindingKind, Kernel};
use crate::exec::ExecError;
use crate::plan::{Layout, Placement, PlanId, Program, SegmentKind, TensorId};

/// A binding ends at a multiple of so many bytes, as the alignment of the map leaves room for.
const END: u64 = 16;

/// A binding of a shader, and where in the map what is bound to it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Number in the bind group.
    pub index: u32,
    /// How the shader uses it.
    pub kind: BindingKind,
    /// The piece of the map.
    pub place: Placement,
}

/// Binds the arguments of a plan's call by name. An absent optional argument, which is never read, is bound to something
/// of the same use: step inputs, or a place that no argument of the call has, as WebGPU lets no two writable bindings
/// share bytes.
///
/// # Errors
/// [`ExecError::Internal`] if the shader asks for what the op has not, or the map has no place for it.
pub fn bound(
    program: &Program,
    layout: &Layout,
    plan: PlanId,
    at: usize,
    kernel: &Kernel,
) -> Result<Vec<Bound>, ExecError> {
    let call = &program.plans[plan.index()].calls[at];
    let fail = |what: &str| ExecError::Internal(format!("{}: {what}", call.label));
    let place = |id: TensorId| {
        let place =
            layout.placement(id).ok_or_else(|| fail(&format!("tensor {} is not in the map", id.0)))?;
        Ok::<_, ExecError>(Placement { bytes: place.bytes.next_multiple_of(END), ..place })
    };
    let args = call.args().iter().flatten().map(|id| place(*id));
    let mut taken = args.collect::<Result<Vec<_>, _>>()?;
    let written =
        call.def().args.iter().zip(call.args()).filter(|(arg, _)| arg.written()).find_map(|(_, id)| *id);
    let mut all = Vec::new();
    for binding in kernel.bindings {
        let place = if binding.kind == BindingKind::Uniform {
            let (offset, bytes) =
                (layout.params_offset(program, plan, at), call.words().bytes().len() as u64);
            Placement { segment: SegmentKind::Params, buffer: 0, offset, bytes }
        } else {
            let arg = call.def().args.iter().position(|a| a.name == binding.name);
            let arg = arg.ok_or_else(|| fail(&format!("the shader's `{}` is no argument", binding.name)))?;
            let nothing = || fail("nothing to bind");
            match (call.args()[arg], binding.kind) {
                (Some(id), _) => place(id)?,
                (None, BindingKind::Read) => place(program.inputs.ok_or_else(nothing)?.rows)?,
                (None, _) => {
                    let beside = place(written.ok_or_else(nothing)?)?;
                    // A map that this call fills has no such place; devices that are not a browser's take the same twice.
                    let spare = spare(layout, &taken, beside).unwrap_or(beside);
                    taken.push(spare);
                    spare
                }
            }
        };
        all.push(Bound { index: binding.index, kind: binding.kind, place });
    }
    Ok(all)
}

/// The place nearest after `beside`, or else before what is taken, in the same buffer, that shares no bytes with what is taken.
fn spare(layout: &Layout, taken: &[Placement], beside: Placement) -> Option<Placement> {
    let size = *layout.segment(beside.segment).buffers.get(beside.buffer)?;
    let here = || taken.iter().filter(|t| t.segment == beside.segment && t.buffer == beside.buffer);
    let align = layout.profile.align;
    let clash = |offset: u64| here().find(|t| t.offset < offset + END && offset < t.offset + t.bytes);
    let mut offset = (beside.offset + beside.bytes).next_multiple_of(align);
    while let Some(other) = clash(offset) {
        offset = (other.offset + other.bytes).next_multiple_of(align);
    }
    if offset + END > size {
        offset = here().map(|t| t.offset).min()?.checked_sub(1)? / align * align;
    }
    Some(Placement { offset, bytes: END, ..beside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Profile, Segment};

    fn layout(bytes: u64) -> Layout {
        let profile = Profile { align: 256, ..crate::exec::gpu::profile(&wgpu::Limits::default()) };
        let segment = |kind| Segment { kind, buffers: vec![bytes] };
        let segments = SegmentKind::ALL.map(segment).to_vec();
        Layout { segments, placements: vec![], mapped: 0, profile }
    }

    fn place(offset: u64, bytes: u64) -> Placement {
        Placement { segment: SegmentKind::Arena, buffer: 0, offset, bytes }
    }

    #[test]
    fn a_spare_place_shares_no_bytes_with_what_is_taken() {
        let found =
            |bytes: u64, taken: &[Placement]| spare(&layout(bytes), taken, taken[0]).map(|p| p.offset);
        let written = place(512, 300);
        assert_eq!(found(4096, &[written]), Some(1024), "the next that may be bound");
        assert_eq!(found(4096, &[written, place(1024, 16), place(1280, 600)]), Some(2048), "after others");
        assert_eq!(found(1024, &[written]), Some(256), "before, where the buffer ends");
        assert_eq!(found(1024, &[written, place(0, 512)]), None, "nowhere");
        let elsewhere = Placement { segment: SegmentKind::State, ..place(1024, 16) };
        assert_eq!(found(4096, &[written, elsewhere]), Some(1024), "other buffers do not matter");
    }
}
