//! The tensor types and file types that GGUF files name by number.
//!
//! Sources: `enum ggml_type` and the block structs of ggml (`ggml.h`, `ggml-common.h`), `enum llama_ftype` of
//! llama.cpp (`llama.h`); the Python package `gguf` 0.19 lists the same sizes, but for Q8_1 (a type that files
//! do not carry), where it still has the older 40-byte block.

/// How a tensor type packs numbers into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The number in the file.
    pub id: u32,
    /// ggml's name, as in `Q4_K`.
    pub name: &'static str,
    /// Numbers in a block. A row (`dims[0]`) is a whole number of blocks.
    pub block_len: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

const fn ty(id: u32, name: &'static str, block_len: u64, block_bytes: u64) -> TensorType {
    TensorType { id, name, block_len, block_bytes }
}

/// Every tensor type that a file may carry, in ascending order of id. The gaps (4, 5, 31 to 33, 36 to 38) are
/// types that ggml removed.
pub const TENSOR_TYPES: &[TensorType] = &[
    ty(0, "F32", 1, 4),
    ty(1, "F16", 1, 2),
    ty(2, "Q4_0", 32, 18),
    ty(3, "Q4_1", 32, 20),
    ty(6, "Q5_0", 32, 22),
    ty(7, "Q5_1", 32, 24),
    ty(8, "Q8_0", 32, 34),
    ty(9, "Q8_1", 32, 36),
    ty(10, "Q2_K", 256, 84),
    ty(11, "Q3_K", 256, 110),
    ty(12, "Q4_K", 256, 144),
    ty(13, "Q5_K", 256, 176),
    ty(14, "Q6_K", 256, 210),
    ty(15, "Q8_K", 256, 292),
    ty(16, "IQ2_XXS", 256, 66),
    ty(17, "IQ2_XS", 256, 74),
    ty(18, "IQ3_XXS", 256, 98),
    ty(19, "IQ1_S", 256, 50),
    ty(20, "IQ4_NL", 32, 18),
    ty(21, "IQ3_S", 256, 110),
    ty(22, "IQ2_S", 256, 82),
    ty(23, "IQ4_XS", 256, 136),
    ty(24, "I8", 1, 1),
    ty(25, "I16", 1, 2),
    ty(26, "I32", 1, 4),
    ty(27, "I64", 1, 8),
    ty(28, "F64", 1, 8),
    ty(29, "IQ1_M", 256, 56),
    ty(30, "BF16", 1, 2),
    ty(34, "TQ1_0", 256, 54),
    ty(35, "TQ2_0", 256, 66),
    ty(39, "MXFP4", 32, 17),
    ty(40, "NVFP4", 64, 36),
    ty(41, "Q1_0", 128, 18),
    ty(42, "Q2_0", 64, 18),
];

impl TensorType {
    /// The type with this id, if a file may carry it.
    pub fn by_id(id: u32) -> Option<&'static TensorType> {
        let at = TENSOR_TYPES.binary_search_by_key(&id, |ty| ty.id).ok()?;
        TENSOR_TYPES.get(at)
    }

    /// The type with ggml's name for it, in any case: `Q4_K`, `q4_k`.
    pub fn by_name(name: &str) -> Option<&'static TensorType> {
        TENSOR_TYPES.iter().find(|ty| ty.name.eq_ignore_ascii_case(name))
    }

    /// Bytes of a tensor of this type with dimensions `dims` (ggml's order, `dims[0]` contiguous; none at all
    /// is one number), or what is wrong with them.
    pub(super) fn size_of(&self, dims: &[u64]) -> Result<u64, String> {
        if let Some(axis) = dims.iter().position(|&n| n == 0) {
            return Err(format!("dimension {axis} of {dims:?} is zero"));
        }
        let row = dims.first().copied().unwrap_or(1);
        if row % self.block_len != 0 {
            let (name, block) = (self.name, self.block_len);
            return Err(format!(
                "rows of {row} numbers are not a multiple of the {block} that {name} packs together"
            ));
        }
        // ggml counts elements in i64, so more than that is wrong even where the bytes would fit.
        let count = dims.iter().try_fold(1u64, |count, &n| count.checked_mul(n));
        count
            .filter(|&count| i64::try_from(count).is_ok())
            .and_then(|count| (count / self.block_len).checked_mul(self.block_bytes))
            .ok_or_else(|| format!("the size of {dims:?} does not fit in 64 bits"))
    }
}

/// The format most of a file's tensors are in, as `general.file_type` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileType(pub u32);

/// Names of [`FileType`]s, as llama.cpp prints them. The gaps are formats that were removed.
const FILE_TYPES: &[(u32, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

impl FileType {
    /// The name, as in `Q4_K_M`; none for a number that llama.cpp does not define.
    pub fn name(self) -> Option<&'static str> {
        // Bit 10 marks a type that the converter guessed.
        const GUESSED: u32 = 1024;
        let id = self.0 & !GUESSED;
        FILE_TYPES.iter().find(|(number, _)| *number == id).map(|(_, name)| *name)
    }

    /// The file type with this name, in any case.
    pub fn by_name(name: &str) -> Option<FileType> {
        FILE_TYPES.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(number, _)| FileType(*number))
    }
}

impl std::fmt::Display for FileType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "file type {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Block sizes spelled out from the fields of ggml's block structs (d, dmin: 2 bytes each).
    #[test]
    fn block_bytes_are_the_sum_of_their_fields() {
        let k = 256;
        let fields: &[(&str, u64)] = &[
            ("Q4_0", 2 + 16),
            ("Q4_1", 2 + 2 + 16),
            ("Q5_0", 2 + 4 + 16),
            ("Q5_1", 2 + 2 + 4 + 16),
            ("Q8_0", 2 + 32),
            ("Q8_1", 2 + 2 + 32),
            ("Q2_K", k / 16 + k / 4 + 2 + 2),
            ("Q3_K", k / 8 + k / 4 + 12 + 2),
            ("Q4_K", 2 + 2 + 12 + k / 2),
            ("Q5_K", 2 + 2 + 12 + k / 8 + k / 2),
            ("Q6_K", k / 2 + k / 4 + k / 16 + 2),
            ("Q8_K", 4 + k + 2 * (k / 16)),
            ("IQ2_XXS", 2 + 2 * (k / 8)),
            ("IQ2_XS", 2 + 2 * (k / 8) + k / 32),
            ("IQ2_S", 2 + k / 4 + k / 32 + k / 32),
            ("IQ3_XXS", 2 + 3 * (k / 8)),
            ("IQ3_S", 2 + k / 4 + k / 32 + k / 8 + k / 64),
            ("IQ1_S", 2 + k / 8 + 2 * (k / 32)),
            ("IQ1_M", k / 8 + k / 16 + k / 32),
            ("IQ4_NL", 2 + 16),
            ("IQ4_XS", 2 + 2 + k / 64 + k / 2),
            ("TQ1_0", (k - 4 * k / 64) / 5 + k / 64 + 2),
            ("TQ2_0", k / 4 + 2),
            ("MXFP4", 1 + 16),
            ("NVFP4", 4 + 32),
            ("Q1_0", 2 + 128 / 8),
            ("Q2_0", 2 + 64 / 4),
        ];
        for (name, bytes) in fields {
            assert_eq!(TensorType::by_name(name).unwrap().block_bytes, *bytes, "{name}");
        }
        assert_eq!(fields.len() + 8, TENSOR_TYPES.len(), "the plain types: F16 F32 F64 BF16 I8 I16 I32 I64");
    }

    #[test]
    fn every_id_is_found_and_the_removed_ones_are_not() {
        assert!(TENSOR_TYPES.is_sorted_by_key(|ty| ty.id));
        for ty in TENSOR_TYPES {
            assert_eq!(TensorType::by_id(ty.id), Some(ty));
            assert_eq!(TensorType::by_name(&ty.name.to_lowercase()), Some(ty));
        }
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, u32::MAX] {
            assert_eq!(TensorType::by_id(id), None);
        }
    }

    #[test]
    fn sizes_are_checked() {
        let q4_k = TensorType::by_name("Q4_K").unwrap();
        assert_eq!(q4_k.size_of(&[512, 3]), Ok(2 * 144 * 3));
        assert_eq!(TensorType::by_name("F32").unwrap().size_of(&[]), Ok(4));
        assert!(q4_k.size_of(&[100]).unwrap_err().contains("multiple of the 256"));
        assert!(q4_k.size_of(&[256, 0]).unwrap_err().contains("dimension 1"));
        let f64 = TensorType::by_name("F64").unwrap();
        assert!(f64.size_of(&[1 << 62]).unwrap_err().contains("64 bits"));
        assert!(f64.size_of(&[1 << 32, 1 << 32]).unwrap_err().contains("64 bits"));
    }

    #[test]
    fn file_types_have_names() {
        assert_eq!(FileType(15).to_string(), "Q4_K_M");
        assert_eq!(FileType(1024 + 7).name(), Some("Q8_0"));
        assert_eq!(FileType(33).to_string(), "file type 33");
        assert_eq!(FileType::by_name("bf16"), Some(FileType(32)));
    }
}
