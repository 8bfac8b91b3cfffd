import Glibc

/// Runs `body` on a thread of its own, so that waiting blocks nobody else.
func onThread<Value: Sendable>(
    _ body: @escaping @Sendable () throws(TcpcryptClientError) -> Value
) async throws(TcpcryptClientError) -> Value {
    typealias Outcome = Result<Value, TcpcryptClientError>
    return try await withCheckedContinuation { (continuation: CheckedContinuation<Outcome, Never>) in
        let code = startThread {
            do throws(TcpcryptClientError) {
                continuation.resume(returning: .success(try body()))
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        if code != 0 { continuation.resume(returning: .failure(.system(step: "thread", code: code))) }
    }.get()
}

/// What a new thread shall do.
private final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// - Returns: 0, or the error number where no thread could be made.
private func startThread(_ body: @escaping @Sendable () -> Void) -> Int32 {
    let work = unsafe Unmanaged.passRetained(Work(body))
    var thread = pthread_t()
    let code = unsafe pthread_create(
        &thread, nil,
        { argument in
            guard let argument = unsafe argument else { return nil }
            unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, work.toOpaque())
    if code == 0 { pthread_detach(thread) } else { unsafe work.release() }
    return code
}
