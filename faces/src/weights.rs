//! Arithmetic on the weights inside an ONNX file: unpack block-quantised ones to f32, give a tensor another shape.
//!
//! `value = (q - zero) * scale`, where the scale and the zero point are those of the block that the number lies in; blocks run
//! along one axis and the last one may be short.
//! Source: ONNX operator DequantizeLinear, version 21 (`axis`, `block_size`).

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    /// Along which axis; negative counts from the last.
    pub(crate) axis: i64,
    /// How many numbers share a scale; at least 1.
    pub(crate) size: usize,
}

/// Unpacks `quantised` to an f32 tensor of this name. The error says what does not fit.
pub(crate) fn unpack(
    quantised: &TensorProto,
    scale: &TensorProto,
    zero: Option<&TensorProto>,
    blocks: Blocks,
    name: &str,
) -> Result<TensorProto, String> {
    let shape = shape(quantised)?;
    let axis = if blocks.axis < 0 { blocks.axis + shape.len() as i64 } else { blocks.axis };
    let axis =
        usize::try_from(axis).ok().filter(|axis| *axis < shape.len()).ok_or("the block axis is outside the tensor")?;
    if blocks.size == 0 {
        return Err("the block size is 0".to_owned());
    }
    let numbers = integers(quantised)?;
    let scales = floats(scale)?;
    let zeros = zero.map(integers).transpose()?;

    let along = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let per_axis = along.div_ceil(blocks.size);
    let expected: usize = shape[..axis].iter().product::<usize>() * per_axis * inner;
    if scales.len() != expected || zeros.as_ref().is_some_and(|zeros| zeros.len() != expected) {
        return Err(format!("there are {} scales for {expected} blocks", scales.len()));
    }
    let values = numbers.iter().enumerate().map(|(at, q)| {
        let (outer, i, j) = (at / (along * inner), at / inner % along, at % inner);
        let block = (outer * per_axis + i / blocks.size) * inner + j;
        let zero = zeros.as_ref().map_or(0, |zeros| zeros[block]);
        (q - zero) as f32 * scales[block]
    });
    Ok(TensorProto {
        name: name.to_owned(),
        dims: quantised.dims.clone(),
        data_type: DataType::Float as i32,
        raw_data: values.flat_map(f32::to_le_bytes).collect(),
        ..TensorProto::default()
    })
}

/// The same numbers under another name and shape. As ONNX has it, one -1 means "the rest" and 0 means "as before".
pub(crate) fn reshape(tensor: &TensorProto, to: &TensorProto, name: &str) -> Result<TensorProto, String> {
    let count: usize = shape(tensor)?.iter().product();
    let mut dims = longs(to)?;
    for (dim, before) in dims.iter_mut().zip(&tensor.dims) {
        if *dim == 0 {
            *dim = *before;
        }
    }
    let known: i64 = dims.iter().filter(|dim| **dim >= 0).product();
    for dim in &mut dims {
        if *dim == -1 && known > 0 {
            *dim = count as i64 / known;
        }
    }
    let reshaped = TensorProto { name: name.to_owned(), dims, ..tensor.clone() };
    if shape(&reshaped)?.iter().product::<usize>() == count {
        Ok(reshaped)
    } else {
        Err("a shape of another size".to_owned())
    }
}

/// The dimensions, whose product is known to fit.
fn shape(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    dims.filter(|dims| dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim)).is_some())
        .ok_or_else(|| format!("impossible dimensions {:?}", tensor.dims))
}

/// 8-bit integers, raw or as a list.
fn integers(tensor: &TensorProto) -> Result<Vec<i32>, String> {
    let numbers: Vec<i32> = match (DataType::try_from(tensor.data_type), tensor.raw_data.is_empty()) {
        (Ok(DataType::Int8 | DataType::Uint8), true) => tensor.int32_data.clone(),
        (Ok(DataType::Int8), false) => tensor.raw_data.iter().map(|byte| i32::from(byte.cast_signed())).collect(),
        (Ok(DataType::Uint8), false) => tensor.raw_data.iter().map(|byte| i32::from(*byte)).collect(),
        _ => return Err("quantised weights that are not 8-bit integers".to_owned()),
    };
    counted(numbers, tensor)
}

fn floats(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    if tensor.data_type != DataType::Float as i32 {
        return Err("scales that are not f32".to_owned());
    }
    let raw = tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    counted(if tensor.raw_data.is_empty() { tensor.float_data.clone() } else { raw.collect() }, tensor)
}

fn longs(tensor: &TensorProto) -> Result<Vec<i64>, String> {
    if tensor.data_type != DataType::Int64 as i32 {
        return Err("a shape that is not of i64".to_owned());
    }
    let raw = tensor.raw_data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
    counted(if tensor.raw_data.is_empty() { tensor.int64_data.clone() } else { raw.collect() }, tensor)
}

/// The numbers, if there are as many as the dimensions say.
fn counted<T>(numbers: Vec<T>, tensor: &TensorProto) -> Result<Vec<T>, String> {
    let expected: usize = shape(tensor)?.iter().product();
    if numbers.len() == expected {
        Ok(numbers)
    } else {
        Err(format!("{} numbers where {expected} belong", numbers.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(dims: &[i64], values: &[i8]) -> TensorProto {
        let raw_data = values.iter().map(|v| v.cast_unsigned()).collect();
        TensorProto { dims: dims.to_vec(), data_type: DataType::Int8 as i32, raw_data, ..TensorProto::default() }
    }

    fn scales(dims: &[i64], values: &[f32]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: values.to_vec(),
            ..TensorProto::default()
        }
    }

    #[test]
    fn each_number_gets_the_scale_and_zero_of_its_block() {
        // two rows of five in blocks of two: the last block of a row is short
        let q = bytes(&[2, 5], &[1, 2, 3, 4, 5, -1, -2, -3, -4, -128]);
        let s = scales(&[2, 3], &[1.0, 10.0, 100.0, 2.0, 20.0, 0.5]);
        let z = bytes(&[2, 3], &[0, 1, 0, 0, 0, 2]);
        let unpacked = unpack(&q, &s, Some(&z), Blocks { axis: 1, size: 2 }, "w").unwrap();
        assert_eq!(floats(&unpacked).unwrap(), [1.0, 2.0, 20.0, 30.0, 500.0, -2.0, -4.0, -60.0, -80.0, -65.0]);
        assert_eq!((unpacked.name.as_str(), unpacked.dims.as_slice()), ("w", [2, 5].as_slice()));
    }

    #[test]
    fn blocks_may_run_along_the_first_axis_and_zero_may_be_missing() {
        let q = bytes(&[3, 2], &[1, 2, 3, 4, 5, 6]);
        let s = scales(&[2, 2], &[1.0, 10.0, 2.0, 20.0]);
        let expected = [1.0, 20.0, 3.0, 40.0, 10.0, 120.0];
        for axis in [0, -2] {
            let unpacked = unpack(&q, &s, None, Blocks { axis, size: 2 }, "w").unwrap();
            assert_eq!(floats(&unpacked).unwrap(), expected);
        }
    }

    #[test]
    fn weights_that_do_not_fit_are_an_error_and_no_panic() {
        let (q, s) = (bytes(&[2, 2], &[1, 2, 3, 4]), scales(&[2, 1], &[1.0, 1.0]));
        let blocks = Blocks { axis: 1, size: 2 };
        assert!(unpack(&q, &s, None, blocks, "w").is_ok());
        assert!(unpack(&q, &scales(&[1], &[1.0]), None, blocks, "w").is_err());
        assert!(unpack(&q, &s, Some(&bytes(&[1], &[0])), blocks, "w").is_err());
        assert!(unpack(&bytes(&[2, 3], &[1, 2, 3, 4]), &s, None, blocks, "w").is_err());
        assert!(unpack(&bytes(&[-1, 3], &[1]), &s, None, blocks, "w").is_err());
        assert!(unpack(&bytes(&[i64::MAX, 4], &[1]), &s, None, blocks, "w").is_err());
        assert!(unpack(&q, &s, None, Blocks { axis: 2, size: 2 }, "w").is_err());
        assert!(unpack(&q, &s, None, Blocks { axis: 1, size: 0 }, "w").is_err());
        assert!(unpack(&s, &s, None, blocks, "w").is_err());
    }

    #[test]
    fn a_shape_may_leave_one_dimension_open() {
        let to = |dims: &[i64]| TensorProto {
            dims: vec![dims.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: dims.to_vec(),
            ..TensorProto::default()
        };
        let flat = scales(&[4, 9], &[0.0; 36]);
        assert_eq!(reshape(&flat, &to(&[4, 1, 3, 3]), "w").unwrap().dims, [4, 1, 3, 3]);
        assert_eq!(reshape(&flat, &to(&[0, -1, 3]), "w").unwrap().dims, [4, 3, 3]);
        assert!(reshape(&flat, &to(&[5, 9]), "w").is_err());
        assert!(reshape(&flat, &to(&[-1, -1]), "w").is_err());
    }
}
