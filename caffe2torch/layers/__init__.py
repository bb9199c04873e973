"""Everything known about layers, one file a family."""

from __future__ import annotations

# The types that each file registers. A file is imported when a net has a layer of one of its types; a type that is
# missing here is found too, but then all files are imported for it.
FAMILIES = {
    "accum": "Accum",
    "accuracy": "Accuracy",
    "activation": "ReLU PReLU Sigmoid Softmax Dropout",
    "bn": "BN",
    "convolution": "Convolution Deconvolution",
    "convolution3d": "Convolution3D",
    "correlation": "Correlation",
    "cropping": "CropCenter Flip",
    "cross_entropy": "SoftmaxWithLoss InfogainLoss SigmoidCrossEntropyLoss",
    "depthwise": "DepthwiseConvolution ConvolutionDepthwise",
    "detection_output": "DetectionOutput",
    "elementwise": "TanH AbsVal BNLL ELU Swish Clip Threshold",
    "embedding": "Embed",
    "flow": "FlowWarp ChannelNorm Mean NegReLU",
    "fork_activation": "ReLU6 CReLU HardSigmoid HardSwish Mish SeLU Softplus LogSoftmax",
    "gating": "Axpy",
    "im2col": "Im2col",
    "inner_product": "InnerProduct",
    "joining": "Eltwise Concat",
    "loss": "EuclideanLoss HingeLoss ContrastiveLoss MultinomialLogisticLoss",
    "lp_normalization": "LpNormalization",
    "noise": "Noise",
    "normalization": "LRN BatchNorm MVN",
    "normalize": "Normalize",
    "permute": "Permute",
    "pooling": "Pooling",
    "pooling3d": "Pooling3D",
    "powers": "Power Exp Log",
    "prior_box": "PriorBox PriorBoxClustered",
    "proposal": "Proposal",
    "pyramid": "SPP",
    "python_proposal": "Python:rpn.proposal_layer.ProposalLayer",
    "recurrent": "LSTM RNN LSTMUnit",
    "reduction": "Reduction ArgMax",
    "resampling": "Resample Downsample",
    "reshaping": "Flatten Reshape",
    "resizing": "Interp BilinearInterpolate",
    "roi_pooling": "ROIPooling PSROIPooling",
    "scale": "Scale Bias",
    "selection": "Slice Crop Tile BatchReindex Filter",
    "shuffling": "ShuffleChannel PixelShuffle DepthToSpace",
    "smooth_l1": "SmoothL1Loss",
    "sources": "Parameter DummyData Silence",
    "spatial_transformer": "SpatialTransformer",
    "unpooling": "Unpooling MaxUnPool",
    "upsample": "Upsample",
    "yolo": "Reorg UpsampleDarknet Region",
    "yolo_detection": "Yolov3DetectionOutput YoloDetectionOutput",
}
# Types that no file has: they bring data, or the graph resolves them by itself.
DATA_TYPES = frozenset(
    {"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "AnnotatedData", "VideoData", "DenseImageData"}
)
WITHOUT_FAMILY = DATA_TYPES | {"Input", "Split"}
