//! How an op is described: the name that it has in the table, its parameters, its arguments and its rules. What is made of
//! it are a struct for its calls, the places of its arguments by name (`AT`), and the description that a plan works with (`DEF`).

/// ```text
/// op! {
///     /// What it computes of what, with shapes.
///     Name(Params) "stem" {
///         rows: Read U32,
///         x: Read F32,
///         bias: Read F32 (optional),
///         y: Write F32,
///     }
///     check: fn(&Shapes, &Params) -> Result<(), PlanError>,
///     tolerance: fn(&Params) -> f64,
///     over: fn(&Params) -> Over,
///     cost: fn(&Params, &Load) -> Cost,
///     grad: fn(&mut Reverse, &Name) -> Result<(), PlanError>,   // where a gradient flows
/// }
/// ```
macro_rules! op {
    ($(#[$doc:meta])* $name:ident($params:ty) $stem:literal {
        $($arg:ident: $access:ident $accepts:ident $(($optional:ident))?),* $(,)?
    }
    check: $check:expr,
    tolerance: $tolerance:expr,
    over: $over:expr,
    cost: $cost:expr,
    $(grad: $grad:path,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        #[allow(missing_docs)]
        pub struct $name {
            $(pub $arg: op!(@id $($optional)?),)*
            pub params: $params,
        }

        /// Places of the arguments in the op's order.
        #[allow(dead_code)]
        struct Places {
            $($arg: usize),*
        }

        #[allow(non_camel_case_types)]
        enum Place {
            $($arg),*
        }

        /// Places of the arguments in the op's order.
        const AT: Places = Places { $($arg: Place::$arg as usize),* };

        impl $crate::plan::Call for $name {
            type Params = $params;

            fn op() -> $crate::plan::OpRef {
                $crate::ops::Op::$name.into()
            }

            fn args(&self) -> Vec<Option<$crate::plan::TensorId>> {
                vec![$(op!(@given self.$arg, $($optional)?)),*]
            }

            fn params(&self) -> $params {
                self.params
            }

            fn of(args: &[Option<$crate::plan::TensorId>], params: $params) -> Option<Self> {
                let [$($arg),*] = *args else { return None };
                Some(Self { $($arg: op!(@taken $arg, $($optional)?),)* params })
            }
        }

        /// Its description.
        pub static DEF: $crate::plan::OpDef = $crate::plan::OpDef {
            stem: $stem,
            args: &[$($crate::plan::Arg {
                name: stringify!($arg),
                access: $crate::plan::Access::$access,
                accepts: $crate::plan::Accepts::$accepts,
                optional: op!(@optional $($optional)?),
            }),*],
            check: |shapes| {
                const RULE: fn(&$crate::plan::Shapes<'_>, &$params) -> Result<(), $crate::plan::PlanError> = $check;
                RULE(shapes, &shapes.call.params::<$name>())
            },
            tolerance: |call| {
                const RULE: fn(&$params) -> f64 = $tolerance;
                RULE(&call.params::<$name>())
            },
            over: |call| {
                const RULE: fn(&$params) -> $crate::plan::Over = $over;
                RULE(&call.params::<$name>())
            },
            cost: |call, load| {
                const RULE: fn(&$params, &$crate::plan::Load) -> $crate::plan::Cost = $cost;
                RULE(&call.params::<$name>(), load)
            },
            grad: op!(@grad $name $($grad)?),
        };
    };
    (@id) => { $crate::plan::TensorId };
    (@id optional) => { Option<$crate::plan::TensorId> };
    (@given $id:expr,) => { Some($id) };
    (@given $id:expr, optional) => { $id };
    (@taken $id:ident,) => { $id? };
    (@taken $id:ident, optional) => { $id };
    (@optional) => { false };
    (@optional optional) => { true };
    (@grad $name:ident) => { None };
    (@grad $name:ident $grad:path) => {
        Some(|reverse, call| {
            let own = call.get::<$name>().ok_or_else(|| call.fails("is not a whole call"))?;
            $grad(reverse, &own)
        })
    };
}
