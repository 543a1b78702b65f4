/** What was asked for cannot be done; `message` is one sentence: the value, what was expected, the fix. */
export class SamDeployError extends Error {
  override name = "SamDeployError";
}

/** An argument is not usable. */
export class InputError extends SamDeployError {
  override name = "InputError";
}

/** A bundle is missing, damaged, not of this package's kind, or not what its manifest says. */
export class BundleError extends SamDeployError {
  override name = "BundleError";
}

/** A device is not there, failed, or gave wrong answers. */
export class DeviceError extends SamDeployError {
  override name = "DeviceError";
}

/** The message of anything that was thrown, its first line, without a full stop. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return (text.split("\n")[0] ?? "").trim().replace(/\.$/, "");
}
