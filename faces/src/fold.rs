//! Makes an ONNX graph digestible before it is run: block-quantised weights become plain ones, in memory.
//!
//! Why: the compact files of OpenCV Zoo keep their weights in 8 bits with a scale per block. No runtime we tried takes them as
//! they are: tract refuses blocks, and the SFace file also lists its weights as inputs. A file without such weights passes
//! unchanged, apart from inputs and weights that nothing uses.
//! The graph's file is never written back.

use std::collections::{BTreeMap, HashSet};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::weights::{Blocks, reshape, unpack};

/// Folds the graph of a network with one input. The error says what is wrong, and with which node.
pub(crate) fn fold(graph: &mut GraphProto) -> Result<(), String> {
    let mut weights: BTreeMap<String, TensorProto> =
        std::mem::take(&mut graph.initializer).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    if let Some(elsewhere) = weights.values().find(|tensor| tensor.data_location == Some(DataLocation::External as i32))
    {
        // the sha256 of the file would not cover them
        return Err(format!("the weights {} lie in another file", elsewhere.name));
    }

    let mut unpacked = HashSet::new();
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut graph.node) {
        let constant = constant(&node, &weights, &unpacked).map_err(|why| format!("node {}: {why}", node.name))?;
        match constant {
            Some(tensor) => {
                unpacked.insert(tensor.name.clone());
                weights.insert(tensor.name.clone(), tensor);
            }
            None => nodes.push(node),
        }
    }

    let used: HashSet<&str> = nodes
        .iter()
        .flat_map(|node| &node.input)
        .chain(graph.output.iter().map(|output| &output.name))
        .map(String::as_str)
        .collect();
    weights.retain(|name, _| used.contains(name.as_str()));
    graph.input.retain(|input| used.contains(input.name.as_str()) && !weights.contains_key(&input.name));
    graph.initializer = weights.into_values().collect();
    graph.node = nodes;
    match graph.input.len() {
        1 => Ok(()),
        inputs => Err(format!("it has {inputs} inputs, a face model has one")),
    }
}

/// What the node will always give, if it only unpacks weights or gives unpacked ones another shape.
fn constant(
    node: &NodeProto,
    weights: &BTreeMap<String, TensorProto>,
    unpacked: &HashSet<String>,
) -> Result<Option<TensorProto>, String> {
    let Some(name) = node.output.first() else { return Ok(None) };
    let inputs: Option<Vec<&TensorProto>> = node.input.iter().map(|input| weights.get(input)).collect();
    let attribute = |wanted: &str| node.attribute.iter().find(|a| a.name == wanted).map(|a| a.i);
    match (node.op_type.as_str(), inputs.as_deref(), attribute("block_size")) {
        ("DequantizeLinear", Some([q, scale, zero @ ..]), Some(1..)) => {
            let size = usize::try_from(attribute("block_size").unwrap_or_default()).map_err(|e| e.to_string())?;
            let blocks = Blocks { axis: attribute("axis").unwrap_or(1), size };
            unpack(q, scale, zero.first().copied(), blocks, name).map(Some)
        }
        ("Reshape", Some([tensor, shape]), _) if unpacked.contains(&tensor.name) => {
            reshape(tensor, shape, name).map(Some)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::{AttributeProto, ValueInfoProto};

    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str, numbers: &[(&str, i64)]) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            name: format!("the {op}"),
            input: inputs.iter().map(|s| (*s).to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: numbers
                .iter()
                .map(|(name, i)| AttributeProto { name: (*name).to_owned(), i: *i, ..Default::default() })
                .collect(),
            ..Default::default()
        }
    }

    fn tensor(name: &str, dims: &[i64], kind: DataType, raw: Vec<u8>) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: kind as i32,
            raw_data: raw,
            ..Default::default()
        }
    }

    /// As OpenCV Zoo writes it: weights in blocks, reshaped, multiplied; the scale also listed as an input.
    fn compact() -> GraphProto {
        let named = |name: &str| ValueInfoProto { name: name.to_owned(), ..Default::default() };
        GraphProto {
            node: vec![
                node("DequantizeLinear", &["q", "s", "z"], "w", &[("axis", 1), ("block_size", 2)]),
                node("Reshape", &["w", "shape"], "w4", &[]),
                node("Conv", &["data", "w4"], "mid", &[]),
                node("Reshape", &["mid", "shape"], "out", &[]),
            ],
            initializer: vec![
                tensor("q", &[1, 4], DataType::Int8, vec![1, 2, 3, 4]),
                tensor("s", &[1, 2], DataType::Float, [1.0_f32, 10.0].iter().flat_map(|f| f.to_le_bytes()).collect()),
                tensor("z", &[1, 2], DataType::Int8, vec![0, 0]),
                tensor("shape", &[4], DataType::Int64, [1_i64, 1, 2, 2].iter().flat_map(|i| i.to_le_bytes()).collect()),
            ],
            input: vec![named("data"), named("s"), named("shape"), named("forgotten")],
            output: vec![named("out")],
            ..Default::default()
        }
    }

    #[test]
    fn packed_weights_become_plain_ones_and_leftovers_go() {
        let mut graph = compact();
        fold(&mut graph).unwrap();
        let names = |nodes: &[NodeProto]| nodes.iter().map(|n| n.op_type.clone()).collect::<Vec<_>>();
        assert_eq!(names(&graph.node), ["Conv", "Reshape"], "a reshape of what is computed stays");
        let weights: Vec<_> = graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.as_slice())).collect();
        assert_eq!(weights, [("shape", [4].as_slice()), ("w4", [1, 1, 2, 2].as_slice())]);
        let plain: Vec<f32> =
            graph.initializer[1].raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(plain, [1.0, 2.0, 30.0, 40.0]);
        assert_eq!(graph.input.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["data"]);
    }

    #[test]
    fn a_plain_graph_passes_unchanged() {
        let mut graph = compact();
        fold(&mut graph).unwrap();
        let once = graph.clone();
        fold(&mut graph).unwrap();
        assert_eq!(graph, once);
    }

    #[test]
    fn weights_in_another_file_are_refused() {
        let mut graph = compact();
        graph.initializer[0].data_location = Some(DataLocation::External as i32);
        assert!(fold(&mut graph).unwrap_err().contains('q'));
    }

    #[test]
    fn a_graph_that_asks_for_more_than_a_picture_is_refused() {
        let mut graph = compact();
        graph.node[2].input.push("forgotten".to_owned());
        assert!(fold(&mut graph).unwrap_err().contains("2 inputs"));
    }

    #[test]
    fn a_wrong_block_names_its_node() {
        let mut graph = compact();
        graph.initializer[1].dims = vec![2, 1];
        graph.initializer[0].dims = vec![1, 5];
        assert!(fold(&mut graph).unwrap_err().contains("the DequantizeLinear"));
    }
}
