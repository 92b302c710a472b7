//! Kernels and products on CUDA devices.

use candle_core::cuda_backend::WrapErr as _;
use candle_core::cuda_backend::cudarc::cublas::{result::gemm_strided_batched_ex, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr as _, LaunchConfig, PushKernelArg as _};
use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use super::launch::{Argument, BLOCK};
use super::product::{ByColumns, Operand};

/// The compiled text.
mod ptx {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// An argument as the driver takes it.
enum Value {
    Address(u64),
    Whole(u32),
    Number(f32),
}

/// Starts a kernel.
pub fn run(device: &CudaDevice, kernel: &str, threads: usize, arguments: &[Argument<'_>]) -> Result<()> {
    let function = device.get_or_load_custom_func(kernel, "spg", ptx::CUDA)?;
    let stream = device.cuda_stream();
    let value = |argument: &Argument<'_>| match *argument {
        Argument::Input(x) | Argument::Output(x) => address(x, &stream).map(Value::Address),
        Argument::Whole(whole) => Ok(Value::Whole(whole)),
        Argument::Number(number) => Ok(Value::Number(number)),
    };
    let values: Vec<Value> = arguments.iter().map(value).collect::<Result<_>>()?;
    let mut launch = function.builder();
    for value in &values {
        match value {
            Value::Address(address) => launch.arg(address),
            Value::Whole(whole) => launch.arg(whole),
            Value::Number(number) => launch.arg(number),
        };
    }
    let grid = ((threads / BLOCK) as u32, 1, 1);
    let config = LaunchConfig { grid_dim: grid, block_dim: (BLOCK as u32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are those of the kernel's text, as the tests on the host have them, and the arrays outlive the
    // call: what is freed later is freed in the stream's order.
    unsafe { launch.launch(config) }.w()?;
    Ok(())
}

/// Where the numbers of a contiguous tensor begin.
fn address(x: &Tensor, stream: &CudaStream) -> Result<u64> {
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("an argument of a kernel is not on the CUDA device") };
    let start = match x.dtype() {
        DType::F32 => pointer::<f32>(storage, stream)?,
        DType::BF16 => pointer::<bf16>(storage, stream)?,
        DType::F16 => pointer::<f16>(storage, stream)?,
        DType::U32 => pointer::<u32>(storage, stream)?,
        other => bail!("kernels know no {other:?}"),
    };
    Ok(start + (layout.start_offset() * x.dtype().size_in_bytes()) as u64)
}

fn pointer<T: candle_core::cuda_backend::CudaDType>(storage: &CudaStorage, stream: &CudaStream) -> Result<u64> {
    // without event tracking the guard does nothing
    let (address, _guard) = storage.as_cuda_slice::<T>()?.device_ptr(stream);
    Ok(address)
}

/// `out = scale a b`, or `out += scale a b`.
pub fn product(
    device: &CudaDevice,
    out: &Tensor,
    (a, b): (Operand<'_>, Operand<'_>),
    ByColumns { batch, m, n, k, transposed, widths, steps, scale, adds, fast }: ByColumns,
) -> Result<()> {
    if n == 0 || m == 0 || batch == 0 {
        return Ok(());
    }
    let stream = device.cuda_stream();
    let blas = device.cublas_handle();
    let [turn_b, turn_a] = transposed.map(|transposed| match transposed {
        false => sys::cublasOperation_t::CUBLAS_OP_N,
        true => sys::cublasOperation_t::CUBLAS_OP_T,
    });
    let compute = match a.x.dtype() == DType::F32 && fast {
        true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let kept = if adds { 1.0f32 } else { 0.0 };
    let (at_a, at_b, at_out) = (address(a.x, &stream)?, address(b.x, &stream)?, address(out, &stream)?);
    // SAFETY: sizes are those of the tensors, which are contiguous and on this device, and outlive the call in its stream.
    unsafe {
        gemm_strided_batched_ex(
            *blas.handle(),
            turn_b,
            turn_a,
            m as i32,
            n as i32,
            k as i32,
            (&raw const scale).cast(),
            at_b as *const _,
            data_type(b.x.dtype())?,
            widths[0] as i32,
            steps[0] as i64,
            at_a as *const _,
            data_type(a.x.dtype())?,
            widths[1] as i32,
            steps[1] as i64,
            (&raw const kept).cast(),
            at_out as *mut _,
            data_type(out.dtype())?,
            m as i32,
            (n * m) as i64,
            batch as i32,
            compute,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()?;
    Ok(())
}

fn data_type(dtype: DType) -> Result<sys::cudaDataType_t> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        DType::F16 => Ok(sys::cudaDataType_t::CUDA_R_16F),
        other => bail!("there are no products of {other:?}"),
    }
}
